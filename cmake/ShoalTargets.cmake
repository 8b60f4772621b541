# What our own targets are built with, and never our users': warnings, sanitizers, include paths.
add_library(shoal_build_options INTERFACE)
target_include_directories(shoal_build_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(shoal_build_options INTERFACE -Wall -Wextra -Wconversion)
if(SHOAL_WERROR)
  target_compile_options(shoal_build_options INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # As GCC means -Wconversion in C++; and loops need not vectorise where sanitizers stand in them.
  target_compile_options(shoal_build_options INTERFACE -Wno-sign-conversion -Wno-pass-failed)
endif()
if(CMAKE_UNITY_BUILD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # A source that is included by another looks like a header to it.
  target_compile_options(shoal_build_options INTERFACE -Wno-subobject-linkage)
endif()
if(SHOAL_SANITIZE)
  # A finding ends the process: one that only prints would let its test pass.
  set(flags -fsanitize=${SHOAL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(shoal_build_options INTERFACE ${flags})
  target_link_options(shoal_build_options INTERFACE -fsanitize=${SHOAL_SANITIZE})
  target_compile_definitions(shoal_build_options INTERFACE SHOAL_SANITIZED)
  if(SHOAL_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Fires on the insides of std::regex and std::function (GCC bug 105562).
    target_compile_options(shoal_build_options INTERFACE -Wno-maybe-uninitialized)
  endif()
  if(SHOAL_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Our fences order memory that a NIC reads, and nothing between threads.
    target_compile_options(shoal_build_options INTERFACE -Wno-tsan)
  endif()
endif()
if(SHOAL_BUILD_FUZZERS AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "SHOAL_BUILD_FUZZERS needs clang (libFuzzer): use the preset 'fuzz'")
endif()

# A library shoal_<name> with the alias shoal::<name> and the sources given.
function(shoal_library name)
  add_library(shoal_${name} ${ARGN})
  add_library(shoal::${name} ALIAS shoal_${name})
  set_target_properties(shoal_${name} PROPERTIES EXPORT_NAME ${name} VERSION ${PROJECT_VERSION}
                                                 SOVERSION ${PROJECT_VERSION_MAJOR})
  target_compile_features(shoal_${name} PUBLIC cxx_std_20)
  target_link_libraries(shoal_${name} PRIVATE $<BUILD_INTERFACE:shoal_build_options>)
  target_include_directories(shoal_${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                                  $<INSTALL_INTERFACE:include/shoal>)
  set_property(GLOBAL APPEND PROPERTY SHOAL_LIBRARIES shoal_${name})
endfunction()
