// SimRing: reproducible disorder.
#include "io/sim_ring.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "io/memory_file.hpp"

namespace ploop::io {
namespace {

/// Notes the order in which completions arrive.
struct Noted : Completion {
  std::vector<int>* order = nullptr;
  int number = 0;
  static void note(Completion* c) {
    auto* self = static_cast<Noted*>(c);
    self->order->push_back(self->number);
  }
};

std::vector<int> completion_order(std::uint64_t seed) {
  MemoryFile file("m");
  SimRing ring({.seed = seed});
  std::vector<int> order;
  std::vector<Noted> notes(8);
  for (int i = 0; i < 8; ++i) {
    notes[static_cast<std::size_t>(i)].order = &order;
    notes[static_cast<std::size_t>(i)].number = i;
    notes[static_cast<std::size_t>(i)].finished = &Noted::note;
    EXPECT_FALSE(ring.submit({.kind = OpKind::Sync, .file = &file}, &notes[static_cast<std::size_t>(i)]));
  }
  ring.run_all();
  EXPECT_EQ(order.size(), 8U);
  return order;
}

TEST(SimRing, SameSeedSameOrderOtherSeedsOtherOrders) {
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(completion_order(seed), completion_order(seed));
    orders.insert(completion_order(seed));
  }
  EXPECT_GT(orders.size(), 15U);
}

TEST(SimRing, WriteBecomesVisibleWhenItFinishes) {
  MemoryFile file("m");
  SimRing ring;
  AlignedBuffer data(4096);
  data.data()[0] = std::byte{42};
  std::vector<int> order;
  Noted note;
  note.order = &order;
  note.finished = &Noted::note;
  ASSERT_FALSE(
      ring.submit({.kind = OpKind::Write, .file = &file, .data = data.data(), .length = 4096}, &note));
  EXPECT_EQ(file.size(), 0);
  ASSERT_TRUE(ring.run_once(true));
  EXPECT_EQ(note.result, 4096);
  EXPECT_EQ(file.size(), 4096);
  EXPECT_EQ(ring.unstable_writes(), 0U);
  ASSERT_FALSE(
      ring.submit({.kind = OpKind::Write, .file = &file, .data = data.data(), .length = 4096}, &note));
  data.data()[0] = std::byte{43};
  ring.run_all();
  EXPECT_EQ(ring.unstable_writes(), 1U);
}

TEST(SimRing, ShortReadLeavesThePatternBehindTheEnd) {
  MemoryFile file("m");
  ASSERT_EQ(file.truncate(512), 0);
  SimRing ring({.immediate_percent = 100});
  AlignedBuffer data(1024);
  Completion done;
  ASSERT_TRUE(ring.submit({.kind = OpKind::Read, .file = &file, .data = data.data(), .length = 1024}, &done));
  EXPECT_EQ(done.result, 512);
  EXPECT_EQ(data.data()[0], std::byte{0});
  EXPECT_NE(data.data()[512], std::byte{0});
}

TEST(SimRing, RefusesWhatDirectIoRefuses) {
  MemoryFile file("m");
  SimRing ring;
  AlignedBuffer data(1024);
  Completion done;
  ASSERT_TRUE(ring.submit(
      {.kind = OpKind::Write, .file = &file, .data = data.data(), .offset = 100, .length = 512}, &done));
  EXPECT_EQ(done.result, -EINVAL);
  ASSERT_TRUE(
      ring.submit({.kind = OpKind::Write, .file = &file, .data = data.data() + 1, .length = 512}, &done));
  EXPECT_EQ(done.result, -EINVAL);
}

TEST(SimRing, TimeoutsFireInOrderOfTime) {
  SimRing ring;
  std::vector<int> order;
  Noted first;
  Noted second;
  first.order = second.order = &order;
  first.finished = second.finished = &Noted::note;
  first.number = 1;
  second.number = 2;
  ring.submit_timeout(2000, &second);
  ring.submit_timeout(1000, &first);
  ring.run_all();
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_GE(ring.now(), 2000U);
}

TEST(SimRing, CancelledTimeoutsStaySilentAndPostsArrive) {
  SimRing ring;
  std::vector<int> order;
  Noted late;
  Noted posted;
  late.order = posted.order = &order;
  late.finished = posted.finished = &Noted::note;
  late.number = 1;
  posted.number = 2;
  ring.submit_timeout(1000, &late);
  ring.post(&posted);
  EXPECT_TRUE(order.empty()) << "never from inside post()";
  ring.cancel_timeout(&late);
  ring.run_all();
  EXPECT_EQ(order, (std::vector<int>{2}));
}

TEST(SimRing, StopsAtTheChosenOperation) {
  MemoryFile file("m");
  SimRing ring;
  ring.stop_after(1);
  std::vector<int> order;
  std::vector<Noted> notes(3);
  for (auto& note : notes) {
    note.order = &order;
    note.finished = &Noted::note;
    ASSERT_FALSE(ring.submit({.kind = OpKind::Sync, .file = &file}, &note));
  }
  ring.run_all();
  EXPECT_TRUE(ring.stopped());
  EXPECT_EQ(order.size(), 1U);
  EXPECT_EQ(ring.in_flight(), 2U);
}

TEST(SimRing, FaultsHitTheChosenOperations) {
  MemoryFile file("m");
  FaultPlan plan;
  plan.add({.kind = OpKind::Sync, .first = 1, .times = 1, .error = ENOSPC});
  SimRing ring({.immediate_percent = 100, .faults = &plan});
  Completion done;
  const Op sync{.kind = OpKind::Sync, .file = &file};
  std::vector<int> results;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(ring.submit(sync, &done));
    results.push_back(done.result);
  }
  EXPECT_EQ(results, (std::vector<int>{0, -ENOSPC, 0}));
  EXPECT_EQ(plan.injected(), 1U);
}

}  // namespace
}  // namespace ploop::io
