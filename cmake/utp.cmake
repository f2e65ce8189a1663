# The few functions that every CMakeLists.txt of the project uses.

if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND UTP_MARCH)
  add_compile_options(-march=${UTP_MARCH})
  if(UTP_MARCH STREQUAL "x86-64-v3")
    add_compile_options(-mpclmul)  # every such machine has it, and simdjson's header picks its slow fallback without it
  endif()
endif()
add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-restrict)  # false reports on "text" + std::string, GCC bug 105651
endif()
if(UTP_SANITIZE)
  add_compile_options(-fsanitize=${UTP_SANITIZE} -fno-omit-frame-pointer)
  if(UTP_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
  add_link_options(-fsanitize=${UTP_SANITIZE})
  add_compile_definitions(UTP_SANITIZED)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-maybe-uninitialized)  # false reports under sanitizers
    if(UTP_SANITIZE MATCHES "thread")
      add_compile_options(-Wno-tsan)  # fences inside Asio, which also uses what the sanitizer sees
    endif()
  endif()
endif()

if(UTP_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

find_program(UTP_MOLD mold)
if(UTP_MOLD AND NOT UTP_FUZZ)
  add_link_options(-fuse-ld=mold)
endif()
find_program(UTP_CCACHE ccache)
if(UTP_CCACHE)
  # Paths relative to the checkout, so that a fresh clone finds what another one compiled.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${UTP_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
if(UTP_TESTS)
  find_package(GTest REQUIRED)
endif()

set_property(GLOBAL PROPERTY UTP_TEST_EXECUTABLES "")

# A folder takes part when it has a CMakeLists.txt.
function(utp_add_module_directory folder)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${folder}/CMakeLists.txt)
    add_subdirectory(${PROJECT_SOURCE_DIR}/${folder} ${CMAKE_BINARY_DIR}/${folder})
  endif()
endfunction()

# Every sub-folder of the given folders that has a CMakeLists.txt: one driver or connector each.
function(utp_add_component_directories)
  foreach(parent ${ARGN})
    file(GLOB children CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${parent}/*/CMakeLists.txt)
    foreach(child ${children})
      get_filename_component(folder ${child} DIRECTORY)
      file(RELATIVE_PATH relative ${PROJECT_SOURCE_DIR} ${folder})
      add_subdirectory(${folder} ${CMAKE_BINARY_DIR}/${relative})
    endforeach()
  endforeach()
endfunction()

# utp_library(NAME SOURCES ... PUBLIC libs... PRIVATE libs...): a static library utp_NAME, alias utp::NAME. Includes are
# written from the source root: "core/result.h", "drivers/bus/embedded/embedded_bus.h".
function(utp_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(utp_${name} STATIC ${arg_SOURCES})
  add_library(utp::${name} ALIAS utp_${name})
  set_target_properties(utp_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(utp_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/utp>)
  target_compile_features(utp_${name} PUBLIC cxx_std_20)
  target_link_libraries(utp_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

# utp_test(NAME SOURCES ... LIBS ...): a GoogleTest program NAME that `./utp test` runs.
function(utp_test name)
  if(NOT UTP_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE UTP_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    UTP_FIXTURES_DIR="${PROJECT_SOURCE_DIR}/../shared/fixtures" UTP_BINARY_DIR="${CMAKE_BINARY_DIR}")
  set_property(GLOBAL APPEND PROPERTY UTP_TEST_EXECUTABLES ${name})
endfunction()

# Writes build/tests.list: what tools/run_tests.py runs.
function(utp_write_test_list)
  get_property(names GLOBAL PROPERTY UTP_TEST_EXECUTABLES)
  list(JOIN names "\n" lines)
  file(WRITE ${CMAKE_BINARY_DIR}/tests.list "${lines}\n")
endfunction()

# utp_embed(TARGET VARIABLE FILES...): the files' bytes as a C++ table of (path below the source root, content),
# declared in core/embedded_file.h and defined as utp::embedded::VARIABLE().
function(utp_embed target variable)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${variable}_embedded.cc)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DVARIABLE=${variable} -DROOT=${PROJECT_SOURCE_DIR}
            "-DFILES=${ARGN}" -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${ARGN} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
