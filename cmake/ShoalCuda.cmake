# Whether GPUs are built in: sets SHOAL_HAS_CUDA. CUDA's runtime is linked statically and loads the
# driver when it is first called, so that one binary starts with and without one.
set(SHOAL_WITH_CUDA AUTO CACHE STRING "NVIDIA GPUs: AUTO (if the CUDA toolkit, 12.5 or newer, is there), ON, OFF")
set(SHOAL_HAS_CUDA OFF)
if(NOT SHOAL_WITH_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 12.5 QUIET)
  if(CUDAToolkit_FOUND)
    set(SHOAL_HAS_CUDA ON)
    message(STATUS "CUDA: ${CUDAToolkit_VERSION} in ${CUDAToolkit_TARGET_DIR}")
  elseif(SHOAL_WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SHOAL_WITH_CUDA=ON needs NVIDIA's CUDA toolkit, 12.5 or newer, with its nvcc "
                        "on the PATH or in /usr/local/cuda")
  else()
    message(STATUS "CUDA: no toolkit of version 12.5 or newer was found: built without GPUs")
  endif()
endif()
