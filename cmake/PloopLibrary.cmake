# ploop_library(NAME SOURCES... [PUBLIC libs...] [PRIVATE libs...])
#
# Makes the static library ploop_NAME from the named sources of the current folder. PUBLIC are libraries
# whose types appear in the folder's headers, PRIVATE those that do not.
#
# ploop_unit_test(NAME SOURCES... [LIBS libs...])
#
# Makes the GoogleTest program test_NAME and registers it with ctest under the label "unit".
#
# ploop_time_limit(TEST SECONDS)
#
# When ctest gives up on a test; later in a build with sanitizers.
include_guard(GLOBAL)
include(Precompiled)

function(ploop_time_limit test seconds)
  if(PLOOP_SANITIZE)
    math(EXPR seconds "${seconds} * 5")
  endif()
  set_tests_properties(${test} PROPERTIES TIMEOUT ${seconds})
endfunction()

function(ploop_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  if(NOT arg_SOURCES)
    message(FATAL_ERROR "ploop_library(${name}): no sources")
  endif()
  add_library(ploop_${name} STATIC ${arg_SOURCES})
  target_link_libraries(ploop_${name} PUBLIC ploop_flags ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
endfunction()

function(ploop_unit_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  if(NOT PLOOP_TESTS)
    return()
  endif()
  find_package(GTest REQUIRED)
  add_executable(test_${name} ${arg_SOURCES})
  target_link_libraries(test_${name} PRIVATE ploop_flags ${arg_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME unit_${name} COMMAND test_${name})
  set_tests_properties(unit_${name} PROPERTIES LABELS unit)
  ploop_time_limit(unit_${name} 120)
endfunction()
