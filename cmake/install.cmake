# cmake --install: the binary, and the libraries as a CMake package:
#
#   find_package(utp)                        utp::core utp::schema utp::model utp::normalize utp::bus
#   find_package(utp COMPONENTS connector)   also utp::connector, utp::store and the embedded drivers
#
# Install components: utp_dev is the first line with its headers and schemas, utp_connector_dev what the second adds.

include(CMakePackageConfigHelpers)
set(utp_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/utp)

# Installs those of the named libraries that the build has, as the export set `name`.
function(utp_install_libraries name component)
  set(targets "")
  foreach(library ${ARGN})
    if(TARGET utp_${library})
      list(APPEND targets utp_${library})
    endif()
  endforeach()
  if(NOT targets)
    return()
  endif()
  install(TARGETS ${targets} EXPORT ${name} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT ${component})
  install(EXPORT ${name} NAMESPACE utp:: DESTINATION ${utp_package_dir} COMPONENT ${component})
endfunction()

utp_install_libraries(utpTargets utp_dev core schema model normalize bus)
utp_install_libraries(utpConnectorTargets utp_connector_dev store connector bus_embedded store_sqlite)

# Headers that only the library's own sources include stay behind.
function(utp_install_headers component)
  foreach(folder ${ARGN})
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/utp
      COMPONENT ${component} FILES_MATCHING PATTERN "*.h" PATTERN "plan_rules.h" EXCLUDE PATTERN "scanner.h" EXCLUDE
      PATTERN "event_reader_impl.h" EXCLUDE)
  endforeach()
endfunction()

utp_install_headers(utp_dev core schema model normalize bus)
utp_install_headers(utp_connector_dev store connector)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/drivers DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/utp
  COMPONENT utp_connector_dev FILES_MATCHING PATTERN "*.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/schemas DESTINATION ${CMAKE_INSTALL_DATADIR}/utp COMPONENT utp_dev
  FILES_MATCHING PATTERN "*.json" PATTERN "schemas.lock")

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/utpConfig.cmake.in ${CMAKE_BINARY_DIR}/utpConfig.cmake
  INSTALL_DESTINATION ${utp_package_dir} PATH_VARS CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/utpConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/utpConfig.cmake ${CMAKE_BINARY_DIR}/utpConfigVersion.cmake
  DESTINATION ${utp_package_dir} COMPONENT utp_dev)
