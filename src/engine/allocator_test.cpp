#include "engine/allocator.hpp"

#include <gtest/gtest.h>

namespace ploop::engine {
namespace {

TEST(Allocator, TakesTheLowestHoleFirstAndThenFreshSpace) {
  Allocator a;
  a.reset(2, 6, 100);
  a.mark_used(2);
  a.mark_used(4);
  auto t = a.take();
  ASSERT_TRUE(t);
  EXPECT_EQ(t->cluster, 3u);
  EXPECT_TRUE(t->hole);
  EXPECT_FALSE(t->clean) << "nobody knows what a hole found at open contains";
  t = a.take();
  EXPECT_EQ(t->cluster, 5u);
  EXPECT_FALSE(t->hole);
  EXPECT_FALSE(a.take());
  a.extended_to(8);
  t = a.take();
  EXPECT_EQ(t->cluster, 6u);
  EXPECT_TRUE(t->clean);
}

TEST(Allocator, GivesBackAndReusesWithTheStateItWasGiven) {
  Allocator a;
  a.reset(1, 4, 10);
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(a.take());
  EXPECT_EQ(a.used_end(), 4u);
  a.give_back(2, true);
  a.give_back(3, false);
  EXPECT_EQ(a.used_end(), 2u);
  auto t = a.take();
  EXPECT_EQ(t->cluster, 2u);
  EXPECT_TRUE(t->clean);
  t = a.take();
  EXPECT_EQ(t->cluster, 3u);
  EXPECT_FALSE(t->clean);
  EXPECT_FALSE(a.take());
}

TEST(Allocator, EmptyFileHasNothingUsed) {
  Allocator a;
  a.reset(5, 5, 70);
  EXPECT_EQ(a.used_end(), 5u);
  EXPECT_FALSE(a.take());
}

TEST(Allocator, WhatComesBackAfterACutThatFailedIsNotClean) {
  Allocator a;
  a.reset(1, 2, 20);
  a.extended_to(6);
  for (int i = 0; i < 5; ++i)
    ASSERT_TRUE(a.take());
  EXPECT_EQ(a.used_between(2, 4), 2u);
  a.give_back(4, false);
  a.give_back(5, true);
  EXPECT_EQ(a.used_clusters(), 3u);
  a.cut_to(4);
  EXPECT_FALSE(a.take()) << "nothing behind the new end is handed out";
  a.extended_to(8);
  for (const bool clean : {false, false, true, true})
    EXPECT_EQ(a.take()->clean, clean);
  for (std::uint32_t c = 4; c < 8; ++c)
    a.give_back(c, false);
  a.cut_to(4);
  a.cut_done();
  a.extended_to(6);
  EXPECT_TRUE(a.take()->clean);
}

TEST(BitmapFind, CrossesWordsAndStopsAtTheEnd) {
  Bitmap b;
  b.resize(200);
  b.set(130);
  EXPECT_EQ(b.find(true, 0, 200), 130u);
  EXPECT_EQ(b.find(true, 0, 130), 130u);
  EXPECT_EQ(b.find(true, 131, 200), 200u);
  for (std::uint64_t i = 0; i < 130; ++i)
    b.set(i);
  EXPECT_EQ(b.find(false, 0, 200), 131u);
}

}  // namespace
}  // namespace ploop::engine
