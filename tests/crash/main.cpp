// Runs the suites of one program and publishes its counters.
#include <gtest/gtest.h>
#include <malloc.h>

#include <string>

#include "harness.hpp"

int main(int argc, char** argv) {
  // Thousands of short lives with the same large buffers each: keep the memory.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  testing::InitGoogleTest(&argc, argv);
  const int status = RUN_ALL_TESTS();
  const std::string program = argv[0];
  ploop::crash::publish_counters(program.substr(program.rfind('/') + 1));
  return status;
}
