// An engine device on in-memory files, and requests that wait for their result.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "engine/device.hpp"
#include "format/header.hpp"
#include "io/forwarding_file.hpp"
#include "io/memory_file.hpp"
#include "io/sim_ring.hpp"

namespace ploop::engine {

inline constexpr std::uint32_t kCluster = 64 * 512;
inline constexpr std::uint64_t kClusters = 16;

/// A file that several deltas in a row can be opened on.
class SharedFile final : public io::ForwardingFile<> {
 public:
  struct Faults {
    bool sync = false;
    bool read_data = false;  ///< behind the header clusters of the lowest image
  };
  SharedFile(io::MemoryFile& file, const Faults& faults, bool lowest, bool immediate)
      : ForwardingFile(file), faults_(faults), lowest_(lowest), immediate_(immediate) {}
  std::int64_t read(std::span<std::byte> data, std::uint64_t offset) override {
    if (faults_.read_data && lowest_ && offset >= kCluster) return -EIO;
    return ForwardingFile::read(data, offset);
  }
  int sync() override { return faults_.sync ? -EIO : ForwardingFile::sync(); }
  [[nodiscard]] bool immediate() const override { return immediate_; }

 private:
  const Faults& faults_;
  bool lowest_;
  bool immediate_;
};

/// Counts its result; the awaiting side of a request in a test.
struct Probe {
  bool done = false;
  int result = 1;
};

struct TestTask {
  struct promise_type {
    TestTask get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::abort(); }
  };
};

inline TestTask submit(Device& device, Request request, Probe& probe) {
  probe.result = co_await device.execute(request);
  probe.done = true;
}

template <typename Step>
TestTask submit_task(Step step, Probe& probe) {
  probe.result = co_await step();
  probe.done = true;
}

class DeviceTest : public ::testing::Test {
 protected:
  io::MemoryFile& add_image(format::Version version = format::Version::V2,
                            io::MemoryFileOptions options = {}) {
    files_.push_back(std::make_unique<io::MemoryFile>("image" + std::to_string(files_.size()), options));
    io::MemoryFile& file = *files_.back();
    const auto header = format::make_header(kClusters * kCluster / 512, kCluster / 512, version);
    const auto bytes = format::encode_header(*header);
    EXPECT_EQ(file.truncate(header->first_block_sectors * 512ull), 0);
    EXPECT_EQ(file.write(bytes, 0), 64);
    return file;
  }
  void open(DeviceConfig config = {}) {
    for (auto& f : files_) {
      const bool top = f == files_.back();
      auto delta =
          image::Delta::open(std::make_unique<SharedFile>(*f, faults_, f == files_.front(), immediate_),
                             image::Kind::Ploop1, {.allow_in_use = config.adopt_map, .writable = top});
      ASSERT_TRUE(delta) << delta.error().message();
      config.deltas.push_back(std::move(*delta));
    }
    if (!config.adopt_map) {
      memory_.assign(Device::map_bytes(config.deltas) / 8, 0);
    }
    config.map_memory = std::as_writable_bytes(std::span(memory_));
    auto device = Device::open(*ring_, std::move(config));
    ASSERT_TRUE(device) << device.error().message();
    device_ = std::move(*device);
  }
  void open_without_clones() {
    DeviceConfig config;
    config.allow_clone = false;
    open(std::move(config));
  }
  int execute(Request request) {
    Probe probe;
    submit(*device_, request, probe);
    ring_->run_until([&] { return probe.done; });
    EXPECT_TRUE(probe.done);
    return probe.result;
  }
  int write(std::uint64_t offset, std::uint64_t length, unsigned char value, bool fua = false) {
    AlignedBuffer buffer(length);
    std::memset(buffer.data(), value, length);
    return execute({Request::Op::Write, fua, false, offset, length, buffer.data()});
  }
  int zero(std::uint64_t offset, std::uint64_t length) {
    return execute({Request::Op::WriteZeroes, false, true, offset, length, nullptr});
  }
  int flush() { return execute({Request::Op::Flush, false, false, 0, 0, nullptr}); }
  /// The value of every byte of the range, or -1 when they differ.
  int value_at(std::uint64_t offset, std::uint64_t length) {
    AlignedBuffer buffer(length);
    EXPECT_EQ(execute({Request::Op::Read, false, false, offset, length, buffer.data()}), 0);
    for (std::size_t i = 1; i < length; ++i) {
      if (buffer.data()[i] != buffer.data()[0]) return -1;
    }
    return static_cast<int>(buffer.data()[0]);
  }
  /// An image opened on the same bytes, as another process would.
  image::Delta reopen_image(std::size_t index, bool writable) {
    auto delta =
        image::Delta::open(std::make_unique<SharedFile>(*files_[index], faults_, index == 0, immediate_),
                           image::Kind::Ploop1, {.allow_in_use = true, .writable = writable});
    EXPECT_TRUE(delta);
    return std::move(*delta);
  }
  template <typename Step>
  int await(Step step) {
    Probe probe;
    submit_task(std::move(step), probe);
    ring_->run_until([&] { return probe.done; });
    EXPECT_TRUE(probe.done);
    return probe.result;
  }
  int hold() {
    return await([this] { return device_->hold(); });
  }
  void close() {
    const auto closed = device_->close();
    ASSERT_TRUE(closed) << closed.error().message();
    device_.reset();
  }
  /// A lower image full of 0x11 in its first four clusters.
  void add_written_base(io::MemoryFileOptions options = {}) {
    add_image(format::Version::V2, options);
    open();
    ASSERT_EQ(write(0, 4 * kCluster, 0x11), 0);
    close();
  }

  SharedFile::Faults faults_;
  bool immediate_ = false;  ///< of files opened from now on
  std::unique_ptr<io::SimRing> ring_ = std::make_unique<io::SimRing>();
  std::vector<std::unique_ptr<io::MemoryFile>> files_;
  std::vector<std::uint64_t> memory_;
  std::unique_ptr<Device> device_;
};

}  // namespace ploop::engine
