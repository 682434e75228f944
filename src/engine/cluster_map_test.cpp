#include "engine/cluster_map.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace ploop::engine {
namespace {

constexpr MapGeometry kGeometry{16, 65536, 2, 1};

struct Memory {
  std::vector<std::uint64_t> words = std::vector<std::uint64_t>(kGeometry.map_bytes() / 8);
  std::span<std::byte> span() { return std::as_writable_bytes(std::span(words)); }
};

TEST(Entry, KeepsItsPartsApart) {
  const Entry e = Entry::at(126, 0xfffffffe).with_below(true).as_partial(255);
  EXPECT_TRUE(e.mapped() && e.below() && e.partial());
  EXPECT_EQ(e.level(), 126);
  EXPECT_EQ(e.cluster(), 0xfffffffeu);
  EXPECT_EQ(e.record(), 255);
  EXPECT_EQ(e.as_complete(), Entry::at(126, 0xfffffffe).with_below(true));
  EXPECT_TRUE(Entry::at(0, 0).mapped()) << "cluster 0 of a raw base is a place like any other";
}

TEST(PartialRecordRuns, FollowTheBitmap) {
  Memory m;
  auto map = ClusterMap::create(m.span(), kGeometry);
  ASSERT_TRUE(map);
  PartialRecord r = map->record(3);
  r.take(7, Entry::at(0, 9));
  EXPECT_TRUE(r.in_use());
  EXPECT_EQ(r.guest_cluster(), 7u);
  EXPECT_EQ(r.lower(), Entry::at(0, 9));
  EXPECT_EQ(r.run(0, 128), 128u);
  r.set_present(10, 100);
  EXPECT_FALSE(r.present(9));
  EXPECT_EQ(r.run(0, 128), 10u);
  EXPECT_TRUE(r.present(10));
  EXPECT_EQ(r.run(10, 118), 100u);
  EXPECT_EQ(r.run(10, 5), 5u);
  EXPECT_FALSE(r.all_present());
  r.set_present(0, 10);
  r.set_present(110, 18);
  EXPECT_TRUE(r.all_present());
  EXPECT_FALSE(map->record(4).in_use()) << "neighbours are untouched";
}

TEST(ClusterMapAdopt, TakesASoundMapAndRefusesImpossibleOnes) {
  const std::vector<std::uint64_t> files{8, 8};
  Memory m;
  auto map = ClusterMap::create(m.span(), kGeometry);
  ASSERT_TRUE(map);
  map->set(0, Entry::at(1, 3));
  map->set(1, Entry::at(0, 3));
  EXPECT_TRUE(ClusterMap::adopt(m.span(), kGeometry, files));

  MapGeometry other = kGeometry;
  other.clusters = 15;
  EXPECT_FALSE(ClusterMap::adopt(m.span(), other, files)) << "made for another size";

  const Entry sound = map->get(0);
  for (const Entry bad : {Entry::at(2, 3), Entry::at(1, 8), Entry(5), Entry::at(1, 3).as_partial(9)}) {
    map->set(0, bad);
    EXPECT_FALSE(ClusterMap::adopt(m.span(), kGeometry, files)) << std::hex << bad.bits();
  }
  map->set(0, sound);
  map->set(2, sound);
  EXPECT_FALSE(ClusterMap::adopt(m.span(), kGeometry, files))
      << "one cluster of the top for two guest clusters";
}

TEST(ClusterMapAdopt, IsForFinishedMapsOnly) {
  Memory m;
  EXPECT_FALSE(ClusterMap::worth_adopting(m.span())) << "new memory";
  auto map = ClusterMap::create(m.span(), kGeometry);
  ASSERT_TRUE(map);
  EXPECT_FALSE(ClusterMap::worth_adopting(m.span())) << "still being built";
  map->finish();
  EXPECT_TRUE(ClusterMap::worth_adopting(m.span()));
  map->abandon();
  EXPECT_FALSE(ClusterMap::worth_adopting(m.span())) << "everything is on disk";
  EXPECT_FALSE(ClusterMap::worth_adopting(m.span().first(8)));
}

TEST(ClusterMapCreate, RefusesMemoryThatIsTooSmall) {
  Memory m;
  EXPECT_FALSE(ClusterMap::create(m.span().first(4096), kGeometry));
}

}  // namespace
}  // namespace ploop::engine
