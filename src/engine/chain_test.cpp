// Levels that come and go under a running device.

#include "engine/test_device.hpp"

namespace ploop::engine {
namespace {

class ChainTest : public DeviceTest {
 protected:
  /// What `ploop snapshot` does to the engine: the file of index `index` becomes the top.
  void push(std::size_t index) {
    const Status prepared = device_->prepare_push(reopen_image(index, true));
    ASSERT_TRUE(prepared) << prepared.error().message();
    ASSERT_EQ(hold(), 0);
    ASSERT_TRUE(device_->seal_top());
    device_->push();
    device_->release();
  }
  void begin_merge(std::vector<std::size_t> lower) {
    std::vector<image::Delta> deltas;
    for (const std::size_t index : lower)
      deltas.push_back(reopen_image(index, index == lower.back()));
    ASSERT_EQ(hold(), 0);
    const Status begun = device_->reopen(std::move(deltas), true, std::as_writable_bytes(std::span(memory_)));
    ASSERT_TRUE(begun) << begun.error().message();
    device_->release();
    EXPECT_TRUE(device_->merging());
  }
  void finish_merge() {
    ASSERT_EQ(await([this] { return device_->drain_overlay(); }), 0);
    ASSERT_EQ(hold(), 0);
    device_->drop_overlay();
    device_->release();
    EXPECT_FALSE(device_->merging());
  }
  format::Header header_of(std::size_t index) {
    std::array<std::byte, 64> head{};
    EXPECT_EQ(files_[index]->read(head, 0), 64);
    return *format::decode_header(head);
  }
};

TEST_F(ChainTest, ASnapshotKeepsItsContentAndTheDeviceGoesOn) {
  add_image();
  open();
  ASSERT_EQ(write(0, 2 * kCluster, 0x11), 0);
  add_image();
  push(1);
  EXPECT_EQ(device_->levels(), 2u);
  EXPECT_FALSE(header_of(0).is_in_use());
  EXPECT_TRUE(header_of(1).is_in_use());
  EXPECT_EQ(value_at(0, 2 * kCluster), 0x11);
  ASSERT_EQ(write(kCluster, kCluster, 0x22), 0);
  ASSERT_EQ(write(0, 512, 0x33), 0);
  ASSERT_EQ(write(5 * kCluster, 512, 0x44), 0);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x11);
  close();

  open();
  EXPECT_EQ(value_at(0, 512), 0x33);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x11);
  EXPECT_EQ(value_at(kCluster, kCluster), 0x22);
  EXPECT_EQ(value_at(5 * kCluster, 512), 0x44);
  close();

  files_.pop_back();
  open();
  EXPECT_EQ(value_at(0, 2 * kCluster), 0x11);
  EXPECT_EQ(value_at(2 * kCluster, kCluster), 0);
  close();
}

// A snapshot whose daemon dies right behind the commit point leaves a lower image that nobody opens for
// writing again.
TEST_F(ChainTest, ASealedTopIsAsLongAsItsClustersAndGoesOnWhenUnsealed) {
  add_image();
  open();
  ASSERT_EQ(write(0, 2 * kCluster, 0x11), 0);
  ASSERT_EQ(hold(), 0);
  const std::int64_t reserved = files_[0]->size();
  ASSERT_TRUE(device_->seal_top());
  const std::int64_t sealed = files_[0]->size();
  EXPECT_EQ(sealed, static_cast<std::int64_t>((header_of(0).header_clusters() + 2) * kCluster));
  EXPECT_LT(sealed, reserved);
  ASSERT_TRUE(device_->unseal_top());
  device_->release();
  ASSERT_EQ(write(3 * kCluster, 3 * kCluster, 0x22), 0);
  ASSERT_EQ(write(7 * kCluster + 512, 512, 0x33), 0);
  close();

  open();
  EXPECT_EQ(value_at(0, 2 * kCluster), 0x11);
  EXPECT_EQ(value_at(3 * kCluster, 3 * kCluster), 0x22);
  EXPECT_EQ(value_at(7 * kCluster, 512), 0);
  EXPECT_EQ(value_at(7 * kCluster + 512, 512), 0x33);
  close();
}

TEST_F(ChainTest, RequestsThatComeWhileTheDeviceIsHeldAreAnsweredAfterwards) {
  add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x11), 0);
  ASSERT_EQ(hold(), 0);
  AlignedBuffer buffer(512);
  std::memset(buffer.data(), 0x77, 512);
  Probe written;
  Probe flushed;
  submit(*device_, {Request::Op::Write, false, false, 0, 512, buffer.data()}, written);
  submit(*device_, {Request::Op::Flush, false, false, 0, 0, nullptr}, flushed);
  ring_->run_all();
  EXPECT_FALSE(written.done);
  EXPECT_FALSE(flushed.done);
  device_->release();
  ring_->run_until([&] { return written.done && flushed.done; });
  EXPECT_EQ(written.result, 0);
  EXPECT_EQ(flushed.result, 0);
  EXPECT_EQ(value_at(0, 512), 0x77);
  close();
}

TEST_F(ChainTest, ATopThatDoesNotFitIsRefusedAndNothingChanges) {
  add_written_base();
  add_image();
  open();
  files_.push_back(std::make_unique<io::MemoryFile>("foreign", io::MemoryFileOptions{}));
  const auto header =
      format::make_header(2 * kClusters * kCluster / 512, kCluster / 512, format::Version::V2);
  ASSERT_EQ(files_.back()->truncate(header->first_block_sectors * 512ull), 0);
  ASSERT_EQ(files_.back()->write(format::encode_header(*header), 0), 64);
  EXPECT_EQ(device_->prepare_push(reopen_image(2, true)).error().code, ExitCode::Format) << "another size";
  EXPECT_EQ(device_->prepare_push(reopen_image(0, true)).error().code, ExitCode::Format) << "not empty";
  EXPECT_EQ(device_->levels(), 2u);
  EXPECT_EQ(value_at(0, kCluster), 0x11);
  close();
}

TEST_F(ChainTest, ALiveMergeMovesTheTopIntoTheLevelBelow) {
  for (const bool can_clone : {false, true}) {
    files_.clear();
    add_written_base({.can_clone = can_clone});  // 0x11 in clusters 0..3
    add_image(format::Version::V2, {.can_clone = can_clone});
    open();
    ASSERT_EQ(write(kCluster, kCluster, 0x22), 0);
    ASSERT_EQ(write(2 * kCluster + 512, 512, 0x33), 0);
    ASSERT_EQ(write(8 * kCluster, 512, 0x44), 0);
    begin_merge({0});
    EXPECT_EQ(value_at(kCluster, kCluster), 0x22);
    ASSERT_EQ(write(kCluster + 512, 512, 0x55), 0);
    ASSERT_EQ(write(9 * kCluster, 512, 0x66), 0);
    ASSERT_EQ(flush(), 0);
    finish_merge();
    EXPECT_EQ(device_->levels(), 1u);
    close();

    files_.pop_back();
    open();
    EXPECT_EQ(value_at(0, kCluster), 0x11);
    EXPECT_EQ(value_at(kCluster, 512), 0x22);
    EXPECT_EQ(value_at(kCluster + 512, 512), 0x55);
    EXPECT_EQ(value_at(kCluster + 1024, kCluster - 1024), 0x22);
    EXPECT_EQ(value_at(2 * kCluster, 512), 0x11);
    EXPECT_EQ(value_at(2 * kCluster + 512, 512), 0x33);
    EXPECT_EQ(value_at(8 * kCluster, 512), 0x44);
    EXPECT_EQ(value_at(9 * kCluster, 512), 0x66);
    close();
  }
}

// On a host in memory, where space is taken by writing and not before.
TEST_F(ChainTest, AMergeWithoutSpaceLeavesADeviceThatFlushesAndCloses) {
  immediate_ = true;
  add_written_base();
  add_image();
  DeviceConfig config;
  config.on_no_space = OnNoSpace::Fail;
  open(std::move(config));
  ASSERT_EQ(write(6 * kCluster, 4 * kCluster, 0x22), 0);
  begin_merge({0});
  files_[0]->set_options({.capacity = files_[0]->allocated_bytes()});
  EXPECT_EQ(await([this] { return device_->drain_overlay(); }), -ENOSPC);
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(value_at(0, 4 * kCluster), 0x11);
  EXPECT_EQ(value_at(6 * kCluster, 4 * kCluster), 0x22);
  ASSERT_EQ(write(kCluster, 512, 0x33), 0) << "has its place";
  EXPECT_EQ(flush(), 0);
  EXPECT_EQ(hold(), 0);
  device_->release();
  files_[0]->set_options({});
  finish_merge();
  EXPECT_EQ(value_at(6 * kCluster, 4 * kCluster), 0x22);
  EXPECT_EQ(value_at(kCluster, 512), 0x33);
  close();
}

TEST_F(ChainTest, AFlushedWriteIntoAPulledClusterIsNotHiddenByTheFormerTop) {
  add_written_base();
  add_image();
  open();
  ASSERT_EQ(write(0, kCluster, 0x22), 0);
  begin_merge({0});
  ASSERT_EQ(write(0, 512, 0x33), 0);
  ASSERT_EQ(zero(3 * kCluster, kCluster), 0);
  ASSERT_EQ(flush(), 0);
  device_.reset();  // power cut right after the flush: both files as they are, read as an ordinary stack
  ring_ = std::make_unique<io::SimRing>();
  DeviceConfig config;
  std::vector<std::unique_ptr<io::MemoryFile>> both;
  for (auto& f : files_) {
    auto delta =
        image::Delta::open(std::make_unique<SharedFile>(*f, faults_, f == files_.front(), immediate_),
                           image::Kind::Ploop1, {.allow_in_use = true, .writable = f == files_.back()});
    ASSERT_TRUE(delta);
    config.deltas.push_back(std::move(*delta));
  }
  memory_.assign(Device::map_bytes(config.deltas) / 8, 0);
  config.map_memory = std::as_writable_bytes(std::span(memory_));
  auto device = Device::open(*ring_, std::move(config));
  ASSERT_TRUE(device);
  device_ = std::move(*device);
  EXPECT_EQ(value_at(0, 512), 0x33);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x22);
  EXPECT_EQ(value_at(3 * kCluster, kCluster), 0);
  close();
}

TEST_F(ChainTest, AnInterruptedLiveMergeIsTakenOverFromTheMap) {
  add_written_base();
  add_image();
  open();
  ASSERT_EQ(write(0, 2 * kCluster, 0x22), 0);
  begin_merge({0});
  ASSERT_EQ(write(0, 512, 0x33), 0);  // acknowledged, not flushed
  device_.reset();
  ring_ = std::make_unique<io::SimRing>();
  DeviceConfig config;
  config.overlay = true;
  config.adopt_map = true;
  for (std::size_t i = 0; i < files_.size(); ++i)
    config.deltas.push_back(reopen_image(i, true));
  config.map_memory = std::as_writable_bytes(std::span(memory_));
  auto device = Device::open(*ring_, std::move(config));
  ASSERT_TRUE(device) << device.error().message();
  device_ = std::move(*device);
  EXPECT_EQ(value_at(0, 512), 0x33);
  EXPECT_EQ(value_at(512, 2 * kCluster - 512), 0x22);
  finish_merge();
  close();
  files_.pop_back();
  open();
  EXPECT_EQ(value_at(0, 512), 0x33);
  EXPECT_EQ(value_at(512, 2 * kCluster - 512), 0x22);
  EXPECT_EQ(value_at(2 * kCluster, 2 * kCluster), 0x11);
  close();
}

TEST_F(ChainTest, ASuccessorLooksUpWhatALowerFileHasElsewhere) {
  // The same content in two files, in which the clusters lie in different places; the second one comes while
  // the worker is being replaced.
  const auto fill = [&](std::initializer_list<std::uint64_t> order) {
    add_image();
    open();
    for (const std::uint64_t n : order)
      ASSERT_EQ(write(n * kCluster, kCluster, static_cast<unsigned char>(0x11 + n)), 0);
    close();
  };
  fill({2, 1, 0});
  std::unique_ptr<io::MemoryFile> equal = std::move(files_.back());
  files_.clear();
  fill({0, 1, 2});
  add_image();
  open();
  ASSERT_EQ(write(0, 512, 0x22), 0);  // partial: the rest of it is in the lower file
  device_.reset();                    // killed
  files_[0] = std::move(equal);
  ring_ = std::make_unique<io::SimRing>();
  DeviceConfig config;
  config.adopt_map = true;
  open(std::move(config));
  EXPECT_EQ(value_at(0, 512), 0x22);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x11);
  EXPECT_EQ(value_at(kCluster, kCluster), 0x12);
  EXPECT_EQ(value_at(2 * kCluster, kCluster), 0x13);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x11);
  close();
}

TEST_F(ChainTest, ADeviceThatCantOpenItsFilesAgainFailsEverythingAndCloses) {
  add_written_base();
  add_image();
  open();
  ASSERT_EQ(write(0, 512, 0x22), 0);
  std::vector<image::Delta> lower;
  lower.push_back(reopen_image(0, false));
  ASSERT_EQ(hold(), 0);
  AlignedBuffer buffer(512);
  Probe waiting;
  submit(*device_, {Request::Op::Read, false, false, 0, 512, buffer.data()}, waiting);
  ring_->run_all();
  EXPECT_FALSE(waiting.done);
  EXPECT_FALSE(device_->reopen(std::move(lower), false, std::as_writable_bytes(std::span(memory_).first(1))));
  device_->release();
  EXPECT_TRUE(waiting.done);
  EXPECT_EQ(waiting.result, -EIO);
  EXPECT_EQ(execute({Request::Op::Read, false, false, 0, 512, buffer.data()}), -EIO);
  EXPECT_EQ(write(0, 512, 0x33), -EIO);
  EXPECT_EQ(flush(), -EIO);
  EXPECT_EQ(hold(), -EIO);
  EXPECT_TRUE(device_->failed());
  EXPECT_EQ(device_->first_run_in_top(0, kClusters * kCluster, kCluster).length, 0u);
  EXPECT_FALSE(device_->top_used_bytes());
  EXPECT_FALSE(device_->track_start());
  EXPECT_FALSE(device_->close());
  device_.reset();
  // The files are as the hold left them: still in use, everything in the tables.
  DeviceConfig successor;
  successor.adopt_map = true;
  open(std::move(successor));
  EXPECT_EQ(value_at(0, 512), 0x22);
  EXPECT_EQ(value_at(512, kCluster - 512), 0x11);
  close();
}

TEST_F(ChainTest, LowerLevelsCanBeExchangedUnderTheTop) {
  add_written_base();
  add_image();
  open();
  ASSERT_EQ(write(0, 512, 0x22), 0);
  // A copy of the base under another name.
  auto copy = std::make_unique<io::MemoryFile>("copy", io::MemoryFileOptions{});
  std::vector<std::byte> bytes(static_cast<std::size_t>(files_[0]->size()));
  ASSERT_EQ(files_[0]->read(bytes, 0), static_cast<std::int64_t>(bytes.size()));
  ASSERT_EQ(copy->write(bytes, 0), static_cast<std::int64_t>(bytes.size()));
  const std::unique_ptr<io::MemoryFile> original = std::exchange(files_[0], std::move(copy));
  std::vector<image::Delta> lower;
  lower.push_back(reopen_image(0, false));
  ASSERT_EQ(hold(), 0);
  ASSERT_TRUE(device_->reopen(std::move(lower), false, std::as_writable_bytes(std::span(memory_))));
  device_->release();
  EXPECT_EQ(value_at(0, 512), 0x22);
  EXPECT_EQ(value_at(512, 4 * kCluster - 512), 0x11);
  ASSERT_EQ(write(kCluster, 512, 0x33), 0);
  close();
  open();
  EXPECT_EQ(value_at(0, 512), 0x22);
  EXPECT_EQ(value_at(kCluster, 512), 0x33);
  EXPECT_EQ(value_at(kCluster + 512, kCluster - 512), 0x11);
  close();
}

}  // namespace
}  // namespace ploop::engine
