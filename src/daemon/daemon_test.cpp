// Real devices through the launcher: what a command sees of attaching and detaching. Needs root, /dev/fuse
// and loop devices, and says so when it can't run.
#include <linux/falloc.h>
#include <sys/sysmacros.h>

#include "daemon/live_device.hpp"

namespace ploop::control {
namespace {

TEST_F(LiveDevice, EndsWithTheCommandThatDidNotKeepIt) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  const std::string use = use_of(*state);
  ASSERT_NE(use, "");
  lifelines_.clear();
  EXPECT_TRUE(ends(state->guardian_pid));
  EXPECT_TRUE(ends(state->worker_pid));
  EXPECT_TRUE(list_devices()->empty());
  EXPECT_TRUE(came_free(*state, use));
}

TEST_F(LiveDevice, AnUnwantedOneEndsWhenItIsNotOpenAnyMore) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  {
    const Result<Fd> open = open_file(state->backing_device, O_RDONLY);
    ASSERT_TRUE(open);
    lifelines_.clear();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_TRUE(Client::connect(0)->ping());
  }
  EXPECT_TRUE(ends(state->guardian_pid));
}

TEST_F(LiveDevice, OutlivesTheCommandThatKeepsIt) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  ASSERT_TRUE(lifelines_.front().keep());
  lifelines_.clear();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_TRUE(Client::connect(0)->ping());
  EXPECT_TRUE(detach_device(*state));
}

TEST_F(LiveDevice, LivesAndLeavesNothingBehind) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  EXPECT_EQ(state->number, 0);
  EXPECT_EQ(state->size_sectors, kSizeSectors);
  EXPECT_EQ(state->cluster_sectors, 2048u);
  EXPECT_EQ(attribute(*state, "size"), std::to_string(kSizeSectors));
  EXPECT_EQ(attribute(*state, "loop/dio"), "1");
  EXPECT_EQ(attribute(*state, "loop/autoclear"), "1");
  EXPECT_EQ(attribute(*state, "queue/discard_granularity"), "4096");
  EXPECT_EQ(attribute(*state, "dev"), std::to_string(state->major) + ":" + std::to_string(state->minor));
  ASSERT_EQ(list_devices()->size(), 1u);
  EXPECT_EQ(list_devices()->front(), *state);
  EXPECT_EQ(Client::connect(0)->info().value(), *state);
  const std::string use = use_of(*state);
  const dev_t number = makedev(state->major, state->minor);
  ASSERT_EQ(::mknod(device_path(0).c_str(), S_IFBLK | 0600, number), 0);
  ASSERT_EQ(::mknod(partition_path(0, 1).c_str(), S_IFBLK | 0600, number), 0);

  const Status detached = detach_device(*state);
  ASSERT_TRUE(detached) << detached.error().message();
  EXPECT_TRUE(list_devices()->empty());
  EXPECT_TRUE(came_free(*state, use));
  EXPECT_FALSE(std::filesystem::exists(device_run_directory(0)));
  EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/dev"));
  EXPECT_TRUE(ends(state->guardian_pid));
  EXPECT_TRUE(ends(state->worker_pid));
}

TEST_F(LiveDevice, DataSurvivesDetachAlsoWithoutSync) {
  std::vector<char> data(1 << 20);
  for (std::size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<char>(i * 31 + i / 4096);
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  {
    const Result<Fd> device = open_file(state->backing_device, O_WRONLY);
    ASSERT_TRUE(device);
    ASSERT_EQ(::pwrite(device->get(), data.data(), data.size(), 5 << 20), static_cast<ssize_t>(data.size()));
  }
  ASSERT_TRUE(detach_device(*state));
  const Result<DeviceState> again = attach_device(spec(true));
  ASSERT_TRUE(again);
  std::vector<char> back(data.size());
  const Result<Fd> device = open_file(again->backing_device, O_RDONLY);
  ASSERT_TRUE(device);
  ASSERT_EQ(::pread(device->get(), back.data(), back.size(), 5 << 20), static_cast<ssize_t>(back.size()));
  EXPECT_EQ(back, data);
}

TEST_F(LiveDevice, FlushDiscardAndZeroReachTheEngine) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  const Result<Fd> device = open_file(state->backing_device, O_RDWR | O_DIRECT);
  ASSERT_TRUE(device);
  AlignedBuffer data(1 << 20);
  ASSERT_EQ(::pwrite(device->get(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
  ASSERT_EQ(::fsync(device->get()), 0);
  ASSERT_EQ(::fallocate(device->get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536), 0);
  ASSERT_EQ(::fallocate(device->get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 65536, 65536), 0);
  Result<Client> client = Client::connect(0);
  ASSERT_TRUE(client);
  const Result<DeviceStats> stats = client->stats();
  ASSERT_TRUE(stats);
  EXPECT_GE(stats->writes, 8u);
  EXPECT_GE(stats->written_bytes, 1u << 20);
  EXPECT_GE(stats->flushes, 1u);
  EXPECT_EQ(stats->discards, 2u);
  EXPECT_EQ(stats->discarded_bytes, 131072u);
  EXPECT_EQ(stats->allocations, 1u);
  EXPECT_TRUE(client->flush());
}

TEST_F(LiveDevice, AnOpenDeviceIsNotDetached) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state);
  {
    const Result<Fd> open = open_file(state->backing_device, O_RDONLY);
    ASSERT_TRUE(open);
    const Status detached = detach_device(*state);
    ASSERT_FALSE(detached);
    EXPECT_EQ(detached.error().code, ExitCode::DeviceIoctl);
    EXPECT_EQ(detached.error().sys_errno, EBUSY);
    EXPECT_TRUE(Client::connect(0)->ping());
    char sector[512];
    EXPECT_EQ(::pread(open->get(), sector, sizeof sector, 0), 512);
  }
  EXPECT_TRUE(detach_device(*state));
}

TEST_F(LiveDevice, ABusyImageIsRefusedByName) {
  ASSERT_TRUE(attach_device(spec()));
  const Result<DeviceState> second = attach_device(spec(true));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ExitCode::Mount);
  EXPECT_NE(second.error().what.find("already used by device " + device_path(0)), std::string::npos)
      << second.error().what;
  std::filesystem::create_hard_link(path("image"), path("other-name"));
  const Result<DeviceState> third = attach_device(spec(true, "other-name"));
  ASSERT_FALSE(third);
  EXPECT_NE(third.error().what.find("already used by device " + device_path(0)), std::string::npos)
      << third.error().what;
}

TEST_F(LiveDevice, ReadersShareAnImage) {
  const Result<DeviceState> first = attach_device(spec(true));
  const Result<DeviceState> second = attach_device(spec(true));
  ASSERT_TRUE(first && second);
  EXPECT_EQ(second->number, 1);
  EXPECT_EQ(attribute(*first, "ro"), "1");
  EXPECT_FALSE(attach_device(spec()));
}

TEST_F(LiveDevice, FailuresLeaveNothing) {
  std::ofstream(path("garbage")) << std::string(1 << 21, 'g');
  const AttachSpec missing = spec(false, "absent");
  const AttachSpec foreign = spec(false, "garbage");
  AttachSpec unknown = spec();
  unknown.transport = "pigeon";
  for (const auto& [order, code] : {std::pair{missing, ExitCode::Open}, std::pair{foreign, ExitCode::Format},
                                    std::pair{unknown, ExitCode::Param}}) {
    const Result<DeviceState> state = attach_device(order);
    ASSERT_FALSE(state);
    EXPECT_EQ(state.error().code, code) << state.error().message();
  }
  EXPECT_TRUE(list_devices()->empty());
  for (const auto& entry : std::filesystem::directory_iterator(run_directory()))
    EXPECT_EQ(entry.path().filename(), "lock");
}

TEST_F(LiveDevice, AKilledWorkerIsReplacedAndNobodyNotices) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  if (!state->can_resend) GTEST_SKIP() << "the kernel can't hand requests to a successor";
  const Result<Fd> device = open_file(state->backing_device, O_RDWR | O_DIRECT);
  ASSERT_TRUE(device);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> rounds{0};
  std::thread writer([&] {
    AlignedBuffer data(4096);
    AlignedBuffer back(4096);
    for (std::uint64_t n = 0; !stop; ++n) {
      std::memset(data.data(), static_cast<int>(n * 7 + 1), data.size());
      const auto at = static_cast<off_t>(n * 37 % 16384 * 4096);
      const bool written = ::pwrite(device->get(), data.data(), data.size(), at) == 4096;
      const bool read = ::pread(device->get(), back.data(), back.size(), at) == 4096;
      if (!written || !read || !std::ranges::equal(data.span(), back.span())) ++wrong;
      if (n % 64 == 0 && ::fsync(device->get()) != 0) ++wrong;
      ++rounds;
    }
  });
  int last = 0;
  for (int kill = 0; kill < 8; ++kill) {
    last = other_worker(last);
    ASSERT_GT(last, 0) << "kill " << kill << "\n" << log_text();
    std::this_thread::sleep_for(std::chrono::milliseconds(310 + kill * 20));
    ASSERT_EQ(::kill(last, SIGKILL), 0);
  }
  EXPECT_GT(other_worker(last), 0);
  EXPECT_TRUE(Client::connect(0)->ping());
  stop = true;
  writer.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(rounds, 100u);
  EXPECT_TRUE(Client::connect(0)->flush());
}

/// Kills every worker as soon as it is there, until the guardian gives up.
TEST_F(LiveDevice, AKilledWorkerLosesNothingThatWasAcknowledged) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  // Direct writes into clusters that no table on disk names yet, and no flush.
  AlignedBuffer data(8192);
  std::fill_n(data.data(), data.size(), std::byte{0x5c});
  {
    const Result<Fd> device = open_file(state->backing_device, O_WRONLY | O_DIRECT);
    ASSERT_TRUE(device);
    for (int cluster = 3; cluster < 60; cluster += 7) {
      ASSERT_EQ(::pwrite(device->get(), data.data(), data.size(), (cluster << 20) + 4096), 8192);
    }
  }
  kill_workers(*state);
  ASSERT_TRUE(ends(state->guardian_pid));
  const auto file = open_file(path("image"), O_RDONLY);
  ASSERT_TRUE(file);
  std::uint32_t in_use = 1;
  ASSERT_EQ(::pread(file->get(), &in_use, sizeof in_use, 44), 4);
  EXPECT_EQ(in_use, 0u) << "closed in place of the worker";

  const Result<DeviceState> again = attach_device(spec(true));
  ASSERT_TRUE(again) << again.error().message();
  const Result<Fd> device = open_file(again->backing_device, O_RDONLY | O_DIRECT);
  ASSERT_TRUE(device);
  AlignedBuffer back(data.size());
  for (int cluster = 3; cluster < 60; cluster += 7) {
    ASSERT_EQ(::pread(device->get(), back.data(), back.size(), (cluster << 20) + 4096), 8192);
    EXPECT_TRUE(std::ranges::equal(back.span(), data.span())) << "cluster " << cluster;
  }
}

class LiveDeviceDeath : public LiveDevice, public testing::WithParamInterface<const char*> {};

TEST_P(LiveDeviceDeath, EndsWritersAndLeavesNoLoopDevice) {
  const Result<DeviceState> state = attach_device(spec());
  ASSERT_TRUE(state) << state.error().message();
  const std::string use = use_of(*state);
  const std::string who = GetParam();
  const int keeper = child_of(state->guardian_pid, state->worker_pid);
  ASSERT_GT(keeper, 0);
  {
    // Dirty pages that nobody will ever be able to write.
    const Result<Fd> device = open_file(state->backing_device, O_WRONLY);
    const std::vector<char> data(32 << 20, 'x');
    ASSERT_EQ(::write(device->get(), data.data(), data.size()), static_cast<ssize_t>(data.size()));
  }
  if (who == "worker") kill_workers(*state);
  if (who == "all") ::kill(state->worker_pid, SIGKILL);
  if (who == "keeper" || who == "all") ::kill(keeper, SIGKILL);
  if (who == "guardian" || who == "all") ::kill(state->guardian_pid, SIGKILL);
  EXPECT_TRUE(ends(state->worker_pid));
  EXPECT_TRUE(ends(state->guardian_pid));
  EXPECT_TRUE(ends(keeper));
  EXPECT_TRUE(came_free(*state, use));
  EXPECT_TRUE(list_devices()->empty());
  // Whatever is left of it does not keep the next one from coming, with the same number.
  const Result<DeviceState> next = attach_device(spec());
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_EQ(next->number, 0);
}

INSTANTIATE_TEST_SUITE_P(All, LiveDeviceDeath, testing::Values("worker", "keeper", "guardian", "all"),
                         [](const auto& row) { return std::string(row.param); });

}  // namespace
}  // namespace ploop::control
