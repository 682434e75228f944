// The registry in a temporary directory: numbers, liveness, cleaning. Nodes are not made here, that needs
// root.
#include "control/registry.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/process.hpp"

namespace ploop::control {
namespace {

class Registry : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/ploop-registry-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    std::filesystem::create_directory(directory_ + "/dev");
    ::setenv("PLOOP_RUNDIR", (directory_ + "/run").c_str(), 1);
    ::setenv("PLOOP_DEVDIR", (directory_ + "/dev").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("PLOOP_RUNDIR");
    ::unsetenv("PLOOP_DEVDIR");
    std::filesystem::remove_all(directory_);
  }
  static DeviceState state_of(int number) {
    DeviceState state;
    state.number = number;
    state.guardian_pid = ::getpid();
    state.guardian_start = process_start_time(::getpid());
    state.deltas = {{"/image", ImageKind::Ploop1, false}};
    return state;
  }
  std::string directory_;
};

TEST_F(Registry, IsEmptyWithoutADirectory) {
  ASSERT_TRUE(list_devices());
  EXPECT_TRUE(list_devices()->empty());
  EXPECT_FALSE(find_device(0).value().has_value());
  EXPECT_TRUE(cleanup_stale());
}

TEST_F(Registry, GivesTheLowestFreeNumber) {
  Result<DeviceClaim> first = DeviceClaim::take(-1);
  Result<DeviceClaim> second = DeviceClaim::take(-1);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->number(), 0);
  EXPECT_EQ(second->number(), 1);
  ASSERT_TRUE(first->release());
  EXPECT_EQ(DeviceClaim::take(-1)->number(), 0);
}

TEST_F(Registry, RefusesATakenNumber) {
  const Result<DeviceClaim> first = DeviceClaim::take(5);
  ASSERT_TRUE(first);
  const Result<DeviceClaim> again = DeviceClaim::take(5);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ExitCode::Device);
}

TEST_F(Registry, LeavesForeignNodesAlone) {
  std::ofstream(directory_ + "/dev/ploop0") << "";
  EXPECT_EQ(DeviceClaim::take(-1)->number(), 1);
  EXPECT_FALSE(DeviceClaim::take(0));
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/dev/ploop0"));
}

TEST_F(Registry, ListsOnlyAttachedLiveDevicesInOrder) {
  const Result<DeviceClaim> a = DeviceClaim::take(10);
  const Result<DeviceClaim> b = DeviceClaim::take(2);
  const Result<DeviceClaim> starting = DeviceClaim::take(4);
  ASSERT_TRUE(a && b && starting);
  ASSERT_TRUE(save_state(state_of(10)));
  ASSERT_TRUE(save_state(state_of(2)));
  const auto devices = list_devices();
  ASSERT_TRUE(devices);
  ASSERT_EQ(devices->size(), 2u);
  EXPECT_EQ((*devices)[0], state_of(2));
  EXPECT_EQ((*devices)[1].number, 10);
  EXPECT_TRUE(find_device(10).value().has_value());
  EXPECT_FALSE(find_device(4).value().has_value());
}

TEST_F(Registry, DeadDevicesAreNotListedAndAreCleanedAway) {
  const pid_t child = ::fork();
  if (child == 0) {
    const Result<DeviceClaim> claim = DeviceClaim::take(0);
    const bool saved = claim && save_state(state_of(0));
    ::_exit(saved ? 0 : 1);  // as after kill -9: nothing is released but the lock
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(std::filesystem::exists(state_path(0)));
  EXPECT_TRUE(list_devices()->empty());
  ASSERT_TRUE(cleanup_stale());
  EXPECT_FALSE(std::filesystem::exists(device_run_directory(0)));
}

/// Stands for ploopd, whose only task here is to end a ublk device: writes down how it was called and ends
/// with `status`.
class UblkRegistry : public Registry {
 protected:
  void SetUp() override {
    Registry::SetUp();
    ::setenv("PLOOP_LIBEXEC", directory_.c_str(), 1);
    const pid_t child = ::fork();
    if (child == 0) {
      DeviceState state = state_of(0);
      state.backing_device = "/dev/ublkb7";
      state.major = 4095;  // no disk has it
      const Result<DeviceClaim> claim = DeviceClaim::take(0);
      ::_exit(claim && save_state(state) && write_file_atomic(ublk_path(0), "00ff\n", 0600) ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
  }
  void TearDown() override {
    ::unsetenv("PLOOP_LIBEXEC");
    Registry::TearDown();
  }
  void daemon_ends_with(ExitCode code) const {
    const std::string path = directory_ + "/ploopd";
    std::ofstream(path) << "#!/bin/sh\necho \"$*\" >" << directory_ << "/called\necho no such luck\nexit "
                        << static_cast<int>(code) << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  }
};

TEST_F(UblkRegistry, ADeadDeviceGoesWhenTheKernelHasLetGoOfIt) {
  daemon_ends_with(ExitCode::Ok);
  const auto found = cleanup_stale();
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_FALSE(found->front().in_use);
  EXPECT_EQ(read_file(directory_ + "/called", 100).value_or(""), "remove-ublk 00ff 7\n");
  EXPECT_FALSE(std::filesystem::exists(device_run_directory(0)));
}

TEST_F(UblkRegistry, ADeadDeviceThatSomebodyUsesStaysKnownAndKeepsItsNumber) {
  daemon_ends_with(ExitCode::Busy);
  const auto found = cleanup_stale();
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_TRUE(found->front().in_use);
  EXPECT_TRUE(std::filesystem::exists(state_path(0)));
  EXPECT_TRUE(dead_devices()->front().in_use);
  EXPECT_EQ(DeviceClaim::take(-1)->number(), 1);
  EXPECT_EQ(DeviceClaim::take(0)->number(), 0);  // who asks for this number gets it
}

TEST_F(UblkRegistry, ADeadDeviceThatCantBeEndedIsSaidAndKept) {
  daemon_ends_with(ExitCode::DeviceIoctl);
  std::string said;
  set_log_sink([&](LogLevel, const std::string& line) { said += line + '\n'; });
  const auto found = cleanup_stale();
  set_log_sink({});
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_TRUE(found->front().in_use);
  EXPECT_NE(said.find("no such luck"), std::string::npos) << said;
  EXPECT_TRUE(std::filesystem::exists(ublk_path(0)));
  EXPECT_EQ(DeviceClaim::take(-1)->number(), 1) << "it stands in nobody's way";
  EXPECT_FALSE(DeviceClaim::take(0));
}

TEST_F(Registry, TakesTheNumberOfADeadDevice) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(DeviceClaim::take(0) ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(DeviceClaim::take(-1)->number(), 0);
}

TEST_F(Registry, CleaningSparesLiveDevicesAndForeignFiles) {
  const Result<DeviceClaim> live = DeviceClaim::take(0);
  ASSERT_TRUE(live);
  ASSERT_TRUE(save_state(state_of(0)));
  std::filesystem::create_directory(run_directory() + "/ploopX");
  std::filesystem::create_directory(run_directory() + "/ploop01");
  ASSERT_TRUE(cleanup_stale());
  EXPECT_EQ(list_devices()->size(), 1u);
  EXPECT_TRUE(std::filesystem::exists(run_directory() + "/ploopX"));
  EXPECT_TRUE(std::filesystem::exists(run_directory() + "/ploop01"));
}

TEST_F(Registry, AGarbledStateIsNoDevice) {
  const Result<DeviceClaim> claim = DeviceClaim::take(0);
  ASSERT_TRUE(claim);
  std::ofstream(state_path(0)) << "{\"number\":";
  EXPECT_TRUE(list_devices()->empty());
  EXPECT_FALSE(find_device(0));
}

TEST(ProcessStartTime, TellsAProcessFromNone) {
  EXPECT_NE(process_start_time(::getpid()), 0u);
  EXPECT_EQ(process_start_time(-1), 0u);
  EXPECT_EQ(process_start_time(1 << 30), 0u);
}

}  // namespace
}  // namespace ploop::control
