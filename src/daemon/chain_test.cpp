// Levels and sizes of real running devices, under a writer that verifies what it wrote.
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/aligned_buffer.hpp"
#include "daemon/live_device.hpp"
#include "io/posix_file.hpp"

namespace ploop::control {
namespace {

/// Writes blocks that say where they belong and how often they were written, all over the device, until it is
/// stopped.
class Writer {
 public:
  static constexpr std::size_t kBlock = 4096;
  static constexpr std::size_t kStride = 16 * kBlock;
  Writer(const std::string& device, std::uint64_t blocks) : device_(device), generation_(blocks) {
    thread_ = std::thread([this] { run(); });
  }
  ~Writer() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  /// After stop(): every block reads as it was written last.
  void verify(const std::string& device) const {
    const Result<Fd> fd = open_file(device, O_RDONLY | O_DIRECT);
    ASSERT_TRUE(fd);
    AlignedBuffer buffer(kBlock);
    std::uint64_t wrong = 0;
    for (std::uint64_t n = 0; n < generation_.size(); ++n) {
      ASSERT_EQ(::pread(fd->get(), buffer.data(), kBlock, static_cast<off_t>(n * kStride)),
                static_cast<ssize_t>(kBlock));
      std::uint64_t words[2];
      std::memcpy(words, buffer.data(), sizeof words);
      const bool right = generation_[n] == 0 ? words[1] == 0 : words[0] == n && words[1] == generation_[n];
      wrong += right ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0u) << "blocks are not what was written last";
  }
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  void run() {
    const Result<Fd> fd = open_file(device_, O_WRONLY | O_DIRECT);
    AlignedBuffer buffer(kBlock);
    std::uint64_t x = 88172645463325252u;
    while (!stop_ && fd) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      const std::uint64_t n = x % generation_.size();
      const std::uint64_t words[2] = {n, generation_[n] + 1};
      for (std::size_t at = 0; at < kBlock; at += sizeof words)
        std::memcpy(buffer.data() + at, words, sizeof words);
      if (::pwrite(fd->get(), buffer.data(), kBlock, static_cast<off_t>(n * kStride)) !=
          static_cast<ssize_t>(kBlock))
        failed_ = true;
      ++generation_[n];
    }
    if (!fd || ::fsync(fd->get()) != 0) failed_ = true;
  }
  std::string device_;
  std::vector<std::uint64_t> generation_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  std::thread thread_;
};

class LiveChain : public LiveDevice {
 protected:
  static constexpr std::uint64_t kBlocks = kSizeSectors * 512 / Writer::kStride;
  DeltaSpec new_top(const std::string& name) {
    make_image(name);
    return {path(name), ImageKind::Ploop1, false};
  }
  /// A staged descriptor and what it replaces, as commands have them.
  CommitPoint staged(const std::string& content) {
    std::ofstream(path("descriptor.tmp")) << content;
    return {path("descriptor.tmp"), path("descriptor")};
  }
  std::string described() {
    std::ifstream in(path("descriptor"));
    std::string text;
    std::getline(in, text);
    return text;
  }
};

TEST_F(LiveChain, SnapshotAndMergeUnderWrites) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  Writer writer(state->backing_device, kBlocks);
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client);
  for (const char* name : {"second", "third"}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    const Status pushed = client->push_delta(new_top(name), staged(name));
    ASSERT_TRUE(pushed) << pushed.error().message();
    EXPECT_EQ(described(), name);
  }
  EXPECT_EQ(client->info()->deltas.size(), 3u);
  EXPECT_EQ(list_devices()->front().deltas.size(), 3u);
  for (const std::size_t left : {2u, 1u}) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    std::uint64_t seen = 0;
    const Status merged =
        client->merge_top({}, staged("merged"), [&](std::uint64_t, std::uint64_t total) { seen = total; });
    ASSERT_TRUE(merged) << merged.error().message();
    EXPECT_GT(seen, 0u);
    EXPECT_EQ(client->info()->deltas.size(), left);
    EXPECT_FALSE(client->info()->deltas.back().read_only);
  }
  EXPECT_EQ(client->maintenance()->name, "OFF");
  writer.stop();
  EXPECT_FALSE(writer.failed());
  writer.verify(state->backing_device);
  ASSERT_TRUE(detach_device(*state));
  const Result<DeviceState> again = attach_device(spec());
  ASSERT_TRUE(again) << again.error().message();
  writer.verify(again->backing_device);
}

TEST_F(LiveChain, GrowsUnderWrites) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  Writer writer(state->backing_device, kBlocks);
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client);
  ASSERT_TRUE(client->push_delta(new_top("second"), {}));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  // Far enough that the table needs another cluster, so that data has to move.
  const std::uint64_t larger = 600'000 * 2048ull;
  const Status grown = client->grow(larger, staged("larger"));
  ASSERT_TRUE(grown) << grown.error().message();
  EXPECT_EQ(described(), "larger");
  EXPECT_EQ(attribute(*state, "size"), std::to_string(larger));
  EXPECT_EQ(client->info()->size_sectors, larger);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  writer.stop();
  EXPECT_FALSE(writer.failed());
  writer.verify(state->backing_device);
  {
    const Result<Fd> device = open_file(state->backing_device, O_RDWR | O_DIRECT);
    ASSERT_TRUE(device);
    AlignedBuffer block(4096);
    std::memset(block.data(), 0x5a, block.size());
    ASSERT_EQ(::pwrite(device->get(), block.data(), block.size(), static_cast<off_t>(larger * 512 - 4096)),
              4096);
  }
  // Who lost the answer asks again.
  const Status again_grown = client->grow(larger, staged("as large"));
  ASSERT_TRUE(again_grown) << again_grown.error().message();
  EXPECT_EQ(described(), "as large");
  EXPECT_EQ(client->grow(larger - 2048, {}).error().code, ExitCode::Param) << "smaller";
  EXPECT_EQ(client->grow(larger + 1, {}).error().code, ExitCode::Param) << "no whole cluster";
  // The lower level is smaller; a merge makes it as large.
  const Status merged = client->merge_top({}, {});
  ASSERT_TRUE(merged) << merged.error().message();
  writer.verify(state->backing_device);
  ASSERT_TRUE(detach_device(*state));
  const Result<DeviceState> again = attach_device(spec(true));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->size_sectors, larger);
  writer.verify(again->backing_device);
}

TEST_F(LiveChain, LowerLevelsAreExchangedUnderWrites) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  Writer writer(state->backing_device, kBlocks);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client->push_delta(new_top("second"), {}));
  std::filesystem::copy_file(path("image"), path("copy"));
  const Status replaced =
      client->set_lower({}, {{path("copy"), ImageKind::Ploop1, true}}, staged("replaced"));
  ASSERT_TRUE(replaced) << replaced.error().message();
  EXPECT_EQ(described(), "replaced");
  std::filesystem::remove(path("image"));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  writer.stop();
  writer.verify(state->backing_device);
  EXPECT_EQ(client->info()->deltas.front().path, path("copy"));
}

TEST_F(LiveChain, ACancelledMergeCanBeResumed) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client->push_delta(new_top("second"), {}));
  AlignedBuffer data(1 << 20);
  std::memset(data.data(), 0x5a, data.size());
  const Result<Fd> device = open_file(state->backing_device, O_RDWR | O_DIRECT);
  for (int cluster = 0; cluster < 120; ++cluster) {
    ASSERT_EQ(::pwrite(device->get(), data.data(), data.size(), static_cast<off_t>(cluster) << 20), 1 << 20);
  }
  const Status cancelled = client->merge_top({}, staged("merged"), {}, [] { return true; });
  if (cancelled) GTEST_SKIP() << "the merge ended before it could be cancelled: a host with reflinks";
  EXPECT_EQ(cancelled.error().code, ExitCode::System);
  EXPECT_EQ(client->maintenance()->name, "MERGE");
  EXPECT_EQ(described(), "");
  EXPECT_EQ(client->push_delta(new_top("third"), {}).error().code, ExitCode::Busy);
  const Status merged = client->merge_top({}, staged("merged"));
  ASSERT_TRUE(merged) << merged.error().message();
  EXPECT_EQ(described(), "merged");
  EXPECT_EQ(client->maintenance()->name, "OFF");
  for (int cluster = 0; cluster < 120; ++cluster) {
    ASSERT_EQ(::pread(device->get(), data.data(), data.size(), static_cast<off_t>(cluster) << 20), 1 << 20);
    ASSERT_TRUE(std::ranges::all_of(data.span(), [](std::byte b) { return b == std::byte{0x5a}; }))
        << cluster;
  }
}

TEST_F(LiveChain, WhatCannotBeDoneChangesNothing) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  Result<Client> client = Client::connect(0);
  EXPECT_EQ(client->merge_top({}, {}).error().code, ExitCode::Param) << "nothing below";
  EXPECT_EQ(client->lend(0).error().code, ExitCode::Param) << "the top";
  EXPECT_EQ(client->push_delta({path("absent"), ImageKind::Ploop1, false}, {}).error().code, ExitCode::Open);
  EXPECT_EQ(client->push_delta({path("image"), ImageKind::Ploop1, false}, {}).error().code, ExitCode::Mount)
      << "itself";
  const Status lost = client->push_delta(new_top("second"), {path("no-such-file"), path("descriptor")});
  EXPECT_EQ(lost.error().code, ExitCode::Rename);
  EXPECT_EQ(client->info()->deltas.size(), 1u);
  EXPECT_EQ(client->maintenance()->name, "OFF");
  const Result<Fd> device = open_file(state->backing_device, O_WRONLY);
  EXPECT_EQ(::pwrite(device->get(), "x", 1, 0), 1);
  EXPECT_EQ(::fsync(device->get()), 0);
}

/// It is the worker that hears of it, and goes on.
TEST_F(LiveChain, ALevelThatCanNotBeOpenedIsRefused) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client->push_delta(new_top("second"), {}));
  const std::vector<DeltaSpec> known = client->info()->deltas;
  const int worker = list_devices()->front().worker_pid;
  for (int i = 0; i < 10; ++i) {
    const std::string absent =
        path("absent, and its name is too long for a short string " + std::to_string(i));
    const Status refused = client->set_lower(known, {{absent, ImageKind::Ploop1, true}}, {});
    ASSERT_FALSE(refused);
    ASSERT_EQ(refused.error().code, ExitCode::Open) << refused.error().message();
    ASSERT_EQ(refused.error().message(), "open " + absent + ": No such file or directory");
  }
  EXPECT_EQ(list_devices()->front().worker_pid, worker) << log_text();
  EXPECT_EQ(client->info()->deltas, known);
}

TEST_F(LiveChain, ACommandThatKnowsOtherImagesIsRefused) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  Result<Client> client = Client::connect(0);
  const std::vector<DeltaSpec> before = client->info()->deltas;
  ASSERT_TRUE(client->push_delta(new_top("second"), {}));
  const std::vector<DeltaSpec> between = client->info()->deltas;
  ASSERT_TRUE(client->push_delta(new_top("third"), {}));
  // What it would do to the images that it knows would drop the one that came since, or move one more.
  EXPECT_EQ(client->set_lower(between, {before.front()}, {}).error().code, ExitCode::Busy);
  EXPECT_EQ(client->merge_top(between, {}).error().code, ExitCode::Busy);
  EXPECT_EQ(client->info()->deltas.size(), 3u);
  ASSERT_TRUE(client->merge_top(client->info()->deltas, {}));
  EXPECT_EQ(client->info()->deltas.size(), 2u);
}

TEST_F(LiveChain, AGrowthThatLostItsCommitPointIsKnownToEverybody) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  if (!state->can_resize) GTEST_SKIP() << "the kernel can't resize this device";
  Result<Client> client = Client::connect(0);
  const Status grown = client->grow(2 * kSizeSectors, {path("no-such-file"), path("descriptor")});
  EXPECT_EQ(grown.error().code, ExitCode::Rename);
  EXPECT_EQ(attribute(*state, "size"), std::to_string(2 * kSizeSectors));
  EXPECT_EQ(client->info()->size_sectors, 2 * kSizeSectors);
  EXPECT_EQ(list_devices()->front().size_sectors, 2 * kSizeSectors);
}

TEST_F(LiveChain, ARawDiskThatLostItsCommitPointHasItsOldSize) {
  std::ofstream(path("raw")).close();
  std::filesystem::resize_file(path("raw"), kSizeSectors * 512);
  AttachSpec raw = spec(false, "raw");
  raw.deltas.front().kind = ImageKind::Raw;
  const Result<DeviceState> state = attach_device(raw);
  ASSERT_TRUE(state);
  if (!state->can_resize) GTEST_SKIP() << "the kernel can't resize this device";
  Result<Client> client = Client::connect(0);
  const Status grown = client->grow(100 * kSizeSectors, {path("no-such-file"), path("descriptor")});
  EXPECT_EQ(grown.error().code, ExitCode::Rename);
  EXPECT_EQ(std::filesystem::file_size(path("raw")), kSizeSectors * 512);
  EXPECT_EQ(attribute(*state, "size"), std::to_string(kSizeSectors));
  EXPECT_EQ(client->info()->size_sectors, kSizeSectors);
  ASSERT_TRUE(client->flush());
  ASSERT_TRUE(client->grow(100 * kSizeSectors, {}));
  EXPECT_EQ(attribute(*state, "size"), std::to_string(100 * kSizeSectors));
  EXPECT_TRUE(detach_device(*state));
}

TEST_F(LiveChain, AWorkerThatLentALevelIsReplacedWhileACommandHasIt) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  if (!state->can_resend) GTEST_SKIP() << "the kernel can't hand requests to a successor";
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client->push_delta(new_top("second"), {}));
  ASSERT_TRUE(client->lend(0));
  const auto lock = [&](bool wanted) {
    Result<std::unique_ptr<io::PosixFile>> file = io::PosixFile::open(path("image"), {.writable = true});
    for (int i = 0; i < 500; ++i) {
      if (*(*file)->try_lock(io::LockKind::Exclusive) == wanted) break;
      if (!wanted) ignore((*file)->unlock(), "the next try shows it");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return *std::move(file);
  };
  std::unique_ptr<io::PosixFile> borrowed = lock(true);
  ::kill(state->worker_pid, SIGKILL);
  ASSERT_GT(other_worker(state->worker_pid), 0) << "waits for the lock: " << log_text();
  AlignedBuffer data(4096);
  const Result<Fd> device = open_file(state->backing_device, O_RDONLY | O_DIRECT);
  EXPECT_EQ(::pread(device->get(), data.data(), data.size(), 0), 4096);
  ASSERT_TRUE(Client::connect(0)->lend(0)) << "the next command goes on with it";
  borrowed.reset();
  // Nobody is connected any more: the successor takes the lock back, whoever else wants it.
  std::unique_ptr<io::PosixFile> other = lock(false);
  EXPECT_FALSE(*other->try_lock(io::LockKind::Exclusive));
}

TEST_F(LiveChain, OperationsSurviveKilledWorkersUnderWrites) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  if (!state->can_resend) GTEST_SKIP() << "the kernel can't hand requests to a successor";
  Writer writer(state->backing_device, kBlocks);
  int victim = state->worker_pid;
  // Kills the worker that serves now, `after` the call, and waits for the next one.
  const auto during = [&](std::chrono::microseconds after, const auto& operation) {
    std::this_thread::sleep_for(
        std::chrono::milliseconds(350));  // one that dies too soon counts as one that can't live
    std::thread killer([&] {
      std::this_thread::sleep_for(after);
      ::kill(victim, SIGKILL);
    });
    Status done = operation();
    killer.join();
    victim = other_worker(victim);
    EXPECT_GT(victim, 0) << log_text();
    return done;
  };
  const auto levels = [] { return Client::connect(0)->info()->deltas.size(); };
  for (int round = 0; round < 6 && victim > 0; ++round) {
    const std::size_t before = levels();
    const std::string name = "top" + std::to_string(round);
    const DeltaSpec top = new_top(name);
    const Status pushed = during(std::chrono::microseconds(500 * round * round),
                                 [&] { return Client::connect(0)->push_delta(top, staged(name)); });
    // The descriptor and the device agree, whatever the command heard.
    const bool done = described() == name;
    EXPECT_EQ(levels(), before + (done ? 1 : 0));
    EXPECT_TRUE(done || !pushed);
    if (levels() < 2) continue;
    const Status merged =
        during(std::chrono::milliseconds(3 * round), [] { return Client::connect(0)->merge_top({}, {}); });
    if (!merged && levels() >= 2) ignore(Client::connect(0)->merge_top({}, {}), "the next round tries again");
  }
  writer.stop();
  EXPECT_FALSE(writer.failed());
  writer.verify(state->backing_device);
}

TEST_F(LiveChain, AWorkerKilledInTheMiddleOfAMergeLosesNothing) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  AlignedBuffer data(1 << 20);
  const auto fill = [&](int value) {
    const Result<Fd> device = open_file(state->backing_device, O_WRONLY | O_DIRECT);
    for (int cluster = 0; cluster < 120; ++cluster) {
      std::memset(data.data(), value + cluster, data.size());
      ASSERT_EQ(::pwrite(device->get(), data.data(), data.size(), static_cast<off_t>(cluster) << 20),
                1 << 20);
    }
  };
  fill(1);
  Result<Client> client = Client::connect(0);
  const DeltaSpec second = new_top("second");
  ASSERT_TRUE(client->push_delta(second, {}));
  fill(2);
  std::thread merge(
      [&] { ignore(Client::connect(0)->merge_top({}, {}), "killed in the middle, or just done"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(15));
  kill_workers(*state);
  merge.join();
  ASSERT_TRUE(ends(state->guardian_pid));
  AttachSpec both = spec(true);
  both.deltas.push_back({second.path, ImageKind::Ploop1, true});
  const Result<DeviceState> again = attach_device(both);
  ASSERT_TRUE(again) << again.error().message();
  const Result<Fd> device = open_file(again->backing_device, O_RDONLY | O_DIRECT);
  for (int cluster = 0; cluster < 120; ++cluster) {
    ASSERT_EQ(::pread(device->get(), data.data(), data.size(), static_cast<off_t>(cluster) << 20), 1 << 20);
    EXPECT_EQ(static_cast<int>(data.data()[12345]), (2 + cluster) & 0xff) << "cluster " << cluster;
  }
}

}  // namespace
}  // namespace ploop::control
