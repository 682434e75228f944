# Precompiled headers, for the from-scratch builds of `make` and CI: about half of a small file's compile time is
# reading the standard library, fmt and GoogleTest. Off in the other presets, which thereby prove that every file
# includes what it uses.
#
#   ploop_precompile_all(DIRECTORY)     once, after all targets exist
include_guard(GLOBAL)
option(PLOOP_PCH "precompile the headers that nearly every file includes" OFF)

if(PLOOP_PCH)
  set(common_headers
    <algorithm> <array> <atomic> <chrono> <cstdint> <cstring> <functional> <map> <memory> <optional> <span> <string>
    <string_view> <unordered_map> <utility> <vector> <fmt/format.h> <tl/expected.hpp>)
  find_path(TL_EXPECTED_DIR tl/expected.hpp REQUIRED)
  file(WRITE ${CMAKE_BINARY_DIR}/pch/empty.cpp "int main() { return 0; }\n")

  # Two, since programs and libraries are compiled with different position-independence flags.
  add_library(ploop_pch_lib STATIC ${CMAKE_BINARY_DIR}/pch/empty.cpp)
  target_link_libraries(ploop_pch_lib PRIVATE ploop_flags fmt::fmt)
  target_include_directories(ploop_pch_lib PRIVATE ${TL_EXPECTED_DIR})
  target_precompile_headers(ploop_pch_lib PRIVATE ${common_headers})
  if(PLOOP_TESTS)
    find_package(GTest REQUIRED)
    add_executable(ploop_pch_test ${CMAKE_BINARY_DIR}/pch/empty.cpp)
    target_link_libraries(ploop_pch_test PRIVATE ploop_flags fmt::fmt GTest::gtest GTest::gmock)
    target_include_directories(ploop_pch_test PRIVATE ${TL_EXPECTED_DIR})
    target_precompile_headers(ploop_pch_test PRIVATE ${common_headers} <gtest/gtest.h> <gmock/gmock.h>)
  endif()
endif()

# Gives every library and test program below `directory` the precompiled header of its kind.
function(ploop_precompile_all directory)
  if(NOT PLOOP_PCH)
    return()
  endif()
  get_property(below DIRECTORY ${directory} PROPERTY SUBDIRECTORIES)
  foreach(folder ${below})
    ploop_precompile_all(${folder})
  endforeach()
  get_property(targets DIRECTORY ${directory} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(target MATCHES "^ploop_pch_")
      continue()
    elseif(type STREQUAL "STATIC_LIBRARY")
      target_precompile_headers(${target} REUSE_FROM ploop_pch_lib)
    elseif(type STREQUAL "EXECUTABLE")
      # GoogleTest comes with a definition, and a precompiled header is only good for the definitions it was made with.
      get_target_property(libraries ${target} LINK_LIBRARIES)
      if(libraries MATCHES "GTest::")
        target_precompile_headers(${target} REUSE_FROM ploop_pch_test)
      endif()
    endif()
  endforeach()
endfunction()
