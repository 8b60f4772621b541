# `cmake --install`: headers, libraries, the program, a CMake package and a pkg-config file.
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY SHOAL_LIBRARIES)
install(TARGETS ${libraries} EXPORT shoalTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS shoal_rules EXPORT shoalTargets)
if(TARGET shoal)
  install(TARGETS shoal RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

# The headers of a module's root are its API; its subfolders are private, but for core's.
set(modules core transport server worker group)
if(SHOAL_HAS_CUDA)
  list(APPEND modules cuda)
endif()
foreach(module ${modules})
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${module}/*.h)
  if(NOT module STREQUAL core)
    list(FILTER headers INCLUDE REGEX "^${module}/[^/]+\\.h$")
  endif()
  foreach(header ${headers})
    get_filename_component(folder ${header} DIRECTORY)
    install(FILES ${header} DESTINATION include/shoal/${folder})
  endforeach()
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/shoal)
install(EXPORT shoalTargets NAMESPACE shoal:: DESTINATION ${package_dir})
configure_package_config_file(cmake/shoalConfig.cmake.in shoalConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(shoalConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shoalConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/shoalConfigVersion.cmake DESTINATION ${package_dir})

# Users before what they use, as a static link wants it.
set(pkgconfig_libs)
foreach(library ${libraries})
  string(PREPEND pkgconfig_libs "-l${library} ")
endforeach()
set(pkgconfig_private)
if(BUILD_SHARED_LIBS)
  set(pkgconfig_private .private)
endif()
# Of a static library what it needs is the program's to link.
set(pkgconfig_cuda)
set(pkgconfig_cuda_private)
if(SHOAL_HAS_CUDA)
  set(runtime " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lrt")
  if(BUILD_SHARED_LIBS)
    set(pkgconfig_cuda_private "${runtime}")
  else()
    set(pkgconfig_cuda "${runtime} -ldl")
  endif()
endif()
# The tree may be moved, and `cmake --install --prefix` names another than the configure step.
file(RELATIVE_PATH to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/shoal.pc.in shoal.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shoal.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
