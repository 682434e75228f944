// The simulator itself: what the oracle calls legal, and which states the log of a file allows.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "crash_states.hpp"
#include "io/recording_file.hpp"
#include "oracle.hpp"

namespace ploop::crash {
namespace {

OracleEvent write_begins(std::uint64_t time, std::uint32_t id, Generation generation) {
  return {OracleEvent::Kind::BeginWrite, time, id, 0, 1, generation, false, false};
}
OracleEvent write_ends(std::uint64_t time, std::uint32_t id, bool ok = true, bool fua = false) {
  return {OracleEvent::Kind::EndWrite, time, id, 0, 0, kZeros, ok, fua};
}
OracleEvent flush_begins(std::uint64_t time, std::uint32_t id) {
  return {OracleEvent::Kind::BeginFlush, time, id, 0, 0, kZeros, false, false};
}
OracleEvent flush_ends(std::uint64_t time, std::uint32_t id, bool ok = true) {
  return {OracleEvent::Kind::EndFlush, time, id, 0, 0, kZeros, ok, false};
}

std::set<Generation> legal(const Oracle& oracle) {
  std::set<Generation> out;
  for (Generation g = 0; g < 10; ++g) {
    if (oracle.legal(0, g)) out.insert(g);
  }
  return out;
}

Oracle after(Oracle::Settles settles, const std::vector<OracleEvent>& events) {
  Oracle oracle(settles, {1});
  for (const OracleEvent& event : events)
    oracle.apply(event);
  return oracle;
}

using Set = std::set<Generation>;
constexpr auto kFlushed = Oracle::Settles::Flushed;
constexpr auto kAcknowledged = Oracle::Settles::Acknowledged;

TEST(Oracle, WithoutAFlushEverythingSinceIsLegal) {
  EXPECT_EQ(legal(after(kFlushed, {write_begins(1, 1, 2), write_ends(2, 1), write_begins(3, 2, 3)})),
            (Set{1, 2, 3}));
}

TEST(Oracle, AFlushSettlesWhatWasAnsweredBeforeIt) {
  const std::vector<OracleEvent> events = {write_begins(1, 1, 2), write_ends(2, 1), flush_begins(3, 2),
                                           flush_ends(4, 2)};
  EXPECT_EQ(legal(after(kFlushed, events)), (Set{2}));
}

TEST(Oracle, AWriteAnsweredDuringTheFlushIsNotSettled) {
  const std::vector<OracleEvent> events = {write_begins(1, 1, 2), flush_begins(2, 2), write_ends(3, 1),
                                           flush_ends(4, 2)};
  EXPECT_EQ(legal(after(kFlushed, events)), (Set{1, 2}));
}

TEST(Oracle, AFailedFlushSettlesNothingAndAFailedWriteStaysPossible) {
  EXPECT_EQ(legal(after(kFlushed, {write_begins(1, 1, 2), write_ends(2, 1), flush_begins(3, 2),
                                   flush_ends(4, 2, false)})),
            (Set{1, 2}));
  EXPECT_EQ(legal(after(kFlushed, {write_begins(1, 1, 2), write_ends(2, 1, false), flush_begins(3, 2),
                                   flush_ends(4, 2)})),
            (Set{1, 2}));
}

TEST(Oracle, FuaSettlesAtItsAnswer) {
  EXPECT_EQ(legal(after(kFlushed, {write_begins(1, 1, 2), write_ends(2, 1, true, true)})), (Set{2}));
}

TEST(Oracle, WritesAtTheSameTimeMayEndEitherWay) {
  const std::vector<OracleEvent> events = {write_begins(1, 1, 2), write_begins(2, 2, 3), write_ends(3, 1),
                                           write_ends(4, 2),      flush_begins(5, 3),    flush_ends(6, 3)};
  EXPECT_EQ(legal(after(kFlushed, events)), (Set{2, 3}));
}

TEST(Oracle, AnAcknowledgedWriteSettlesForALiveDevice) {
  EXPECT_EQ(legal(after(kAcknowledged, {write_begins(1, 1, 2), write_ends(2, 1)})), (Set{2}));
  EXPECT_EQ(legal(after(kAcknowledged, {write_begins(1, 1, 2)})), (Set{1, 2}));
}

/// A recorded file and the first byte of each 512 after a power cut.
class States : public testing::Test {
 protected:
  States() { begin_.set_size(4096); }

  void make(std::uint64_t size) {
    auto content = std::make_unique<io::MemoryFile>("m");
    content->truncate(size);
    file_ = std::make_unique<io::RecordingFile>(disk_, std::move(content));
    begin_.set_size(size);
  }
  void write(std::uint64_t offset, int value, std::size_t length = 512) {
    const std::vector<std::byte> data(length, static_cast<std::byte>(value));
    ASSERT_EQ(file_->write(data, offset), static_cast<std::int64_t>(length));
  }
  /// Each state of the moment "now" as the first byte of each sector up to its length.
  std::set<std::vector<int>> all() {
    CrashStates states(begin_, disk_.log(), 1 << 20);
    states.advance(disk_.now() + 1);
    std::mt19937_64 rng(1);
    Enumeration limits;
    limits.per_event = 1000;
    std::set<std::vector<int>> out;
    const auto take = [&](const std::vector<Fate>& fates) {
      const Content state = states.build(fates);
      std::vector<int> sectors;
      for (std::uint64_t at = 0; at < state.size(); at += 512)
        sectors.push_back(std::to_integer<int>(*state.sector(at)));
      out.insert(sectors);
    };
    states.enumerate(CrashStates::kAll, limits, rng, take);
    for (std::size_t i = 0; i < disk_.log().size(); ++i)
      states.enumerate(i, limits, rng, take);
    return out;
  }

  io::SimDisk disk_;
  std::unique_ptr<io::RecordingFile> file_;
  Content begin_;
};

using Sectors = std::vector<int>;

TEST_F(States, WhatABarrierCoversIsThere) {
  make(1024);
  write(0, 1);
  ASSERT_EQ(file_->sync(), 0);
  EXPECT_EQ(all(), (std::set<Sectors>{{1, 0}}));
}

TEST_F(States, WhatNoBarrierCoversMayBeThere) {
  make(1024);
  write(0, 1);
  ASSERT_EQ(file_->sync(), 0);
  write(0, 2);
  write(512, 3);
  EXPECT_EQ(all(), (std::set<Sectors>{{1, 0}, {2, 0}, {1, 3}, {2, 3}}));
}

TEST_F(States, ABarrierThatBeganBeforeTheWriteEndedDoesNotCoverIt) {
  make(512);
  std::vector<std::byte> data(512, std::byte{1});
  io::Op op{.kind = io::OpKind::Write, .file = file_.get(), .data = data.data(), .length = 512};
  const std::uint64_t write = file_->begin(op);
  op.kind = io::OpKind::Sync;
  const std::uint64_t barrier = file_->begin(op);
  file_->finish(write);
  file_->finish(barrier);
  EXPECT_EQ(all(), (std::set<Sectors>{{0}, {1}}));
}

TEST_F(States, AfterAFailedBarrierALaterOneIsNotBelieved) {
  make(512);
  write(0, 1);
  io::FaultPlan plan;
  plan.add({.kind = io::OpKind::Sync});
  file_->set_faults(&plan);
  ASSERT_LT(file_->sync(), 0);
  ASSERT_EQ(file_->sync(), 0);
  EXPECT_EQ(all(), (std::set<Sectors>{{0}, {1}}));
}

TEST_F(States, LengthAndDataOfAnExtendingWriteAreIndependent) {
  make(512);
  write(512, 1);
  constexpr int kPoisoned = std::to_integer<int>(kPoison);
  EXPECT_EQ(all(), (std::set<Sectors>{{0}, {0, 0}, {0, kPoisoned}, {0, 1}}));
}

TEST_F(States, ATornWriteKeepsItsSectors) {
  make(1024);
  write(0, 1, 1024);
  EXPECT_EQ(all(), (std::set<Sectors>{{0, 0}, {1, 0}, {0, 1}, {1, 1}}));
}

TEST_F(States, TruncationAndAllocationArePending) {
  make(1024);
  write(0, 1, 1024);
  ASSERT_EQ(file_->sync(), 0);
  ASSERT_EQ(file_->truncate(512), 0);
  ASSERT_EQ(file_->allocate(512, 512), 0);
  EXPECT_EQ(all(), (std::set<Sectors>{{1, 1}, {1}, {1, 0}}));
}

}  // namespace
}  // namespace ploop::crash
