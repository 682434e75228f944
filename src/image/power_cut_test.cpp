// Repair and close under power cuts: what was written before the last barrier is there, of the rest any
// sectors, in any order. Whatever is left must lose nothing, and a second repair must end as an undisturbed
// one does.
#include <gtest/gtest.h>

#include "image/check.hpp"
#include "image/lifecycle.hpp"
#include "image/stack.hpp"
#include "image/test_image.hpp"
#include "image/test_power_cut.hpp"
#include "io/recording_file.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using io::MemoryFile;

const CheckOptions kHard{.force = true, .hard_force = true, .check = true, .drop_in_use = true};
const CheckOptions kLook{.force = true, .check = true, .read_only = true};

/// All guest bytes.
std::vector<std::byte> guest_of(const MemoryFile& file, bool allow_in_use = false) {
  std::vector<Delta> deltas;
  auto delta = open_copy(file, {.allow_in_use = allow_in_use});
  if (!delta) throw std::runtime_error(delta.error().message());
  deltas.push_back(std::move(*delta));
  const auto stack = Stack::make(std::move(deltas));
  std::vector<std::byte> bytes(stack->size_bytes());
  if (!stack->read(0, bytes)) throw std::runtime_error("read");
  return bytes;
}

TEST(PowerCut, RepairLosesNothingAndCanBeFinishedLater) {
  const auto damaged = make_image({.clusters = 40}, {{3, 2}, {1, 3}, {38, 4}});
  put_slot(*damaged, 9, 3);
  put_slot(*damaged, 30, 4);
  put_slot(*damaged, 31, 4);
  put_slot(*damaged, 10, 99);
  put_slot(*damaged, 2000, 3);
  put32(*damaged, 56, 640);
  put32(*damaged, 44, format::kInUseMark);
  damaged->truncate(9 * 32768 - 100);

  io::SimDisk disk;
  io::RecordingFile recorded(disk, copy_of(*damaged));
  ASSERT_EQ(check_image(recorded, kHard)->exit, ExitCode::Ok);
  const auto expected = guest_of(recorded.content());

  std::size_t states = 0;
  for (std::size_t cut = 0; cut <= disk.log().size(); ++cut) {
    for (std::uint64_t seed = 0; seed < 8; ++seed, ++states) {
      const auto file = after_cut(*damaged, disk.log(), cut, seed);
      const auto again = check_image(*file, kHard);
      ASSERT_TRUE(again) << again.error().message() << " cut " << cut << " seed " << seed;
      ASSERT_EQ(again->exit, ExitCode::Ok);
      ASSERT_EQ(check_image(*file, kLook)->exit, ExitCode::Ok);
      ASSERT_TRUE(guest_of(*file) == expected) << "cut " << cut << " seed " << seed;
    }
  }
  EXPECT_GE(states, 100u);
}

/// Once the mark is gone the image is whole; while it is there the data is.
TEST(PowerCut, CloseNeverClearsTheMarkTooEarly) {
  const auto image = make_image({.clusters = 40}, {{3, 2}, {1, 3}});
  format::Header header = open_copy(*image)->header();
  io::SimDisk disk;
  io::RecordingFile recorded(disk, copy_of(*image));
  ASSERT_TRUE(mark_in_use(recorded, header));
  // A session: one new cluster with its slot, and space ahead of need.
  recorded.truncate(20 * 32768);
  recorded.write(pattern(0x41, 7, 32768), 4 * 32768);
  recorded.sync();
  const std::size_t committed = disk.log().size();
  put_slot(recorded, 7, 4);
  recorded.sync();
  const std::size_t session = disk.log().size();
  ASSERT_TRUE(close_image(recorded, header, 5));
  const auto expected = guest_of(recorded.content());

  for (std::size_t cut = 0; cut <= disk.log().size(); ++cut) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      const auto file = after_cut(*image, disk.log(), cut, seed);
      const auto state = open_copy(*file, {.allow_in_use = true});
      ASSERT_TRUE(state) << state.error().message() << " cut " << cut << " seed " << seed;
      if (cut > committed && !state->header().is_in_use()) {
        EXPECT_EQ(state->file_bytes(), 5u * 32768);
        EXPECT_TRUE(guest_of(*file) == expected);
      }
      if (cut >= session) {
        EXPECT_TRUE(guest_of(*file, true) == expected);
      }
    }
  }
}

}  // namespace
}  // namespace ploop::image
