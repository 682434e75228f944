// A device that a test attaches through the launcher, in a runtime directory of its own.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/paths.hpp"
#include "control/client.hpp"
#include "control/launcher.hpp"
#include "control/registry.hpp"
#include "image/create.hpp"

namespace ploop::control {

inline constexpr std::uint64_t kSizeSectors = 128 * 2048;

class LiveDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    if (::access("/dev/fuse", R_OK | W_OK) != 0) GTEST_SKIP() << "needs /dev/fuse";
    if (::access("/dev/loop-control", R_OK | W_OK) != 0) GTEST_SKIP() << "needs loop devices";
    char pattern[] = "/tmp/ploop-device-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern), nullptr);
    directory_ = pattern;
    std::filesystem::create_directory(directory_ + "/dev");
    ::setenv("PLOOP_RUNDIR", (directory_ + "/run").c_str(), 1);
    ::setenv("PLOOP_DEVDIR", (directory_ + "/dev").c_str(), 1);
    ::setenv("PLOOP_LIBEXEC", directory_of(PLOOPD_PATH).c_str(), 1);
    make_image("image");
  }
  void TearDown() override {
    if (directory_.empty()) return;
    // What is open for a moment longer ends by itself, since it hangs on its lifeline.
    lifelines_.clear();
    for (int i = 0; i < 1000 && !list_devices()->empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_TRUE(list_devices()->empty());
    for (const char* name : {"PLOOP_RUNDIR", "PLOOP_DEVDIR", "PLOOP_LIBEXEC"})
      ::unsetenv(name);
    std::filesystem::remove_all(directory_);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return directory_ + "/" + name; }
  /// Attached until the end of the test at the latest.
  Result<DeviceState> attach_device(const AttachSpec& order) {
    Attachment attached = TRY(control::attach_device(order));
    lifelines_.push_back(std::move(attached.lifeline));
    return std::move(attached.state);
  }
  void make_image(const std::string& name) const {
    image::CreateOptions options;
    options.size_sectors = kSizeSectors;
    ASSERT_TRUE(image::create_image(path(name), options));
  }
  [[nodiscard]] AttachSpec spec(bool read_only = false, const std::string& name = "image") const {
    AttachSpec s;
    s.deltas = {{path(name), ImageKind::Ploop1, read_only}};
    s.read_only = read_only;
    return s;
  }
  /// The kernel's attribute of the device behind it.
  static std::string attribute(const DeviceState& state, const std::string& name) {
    std::ifstream in("/sys/block/" + base_name(state.backing_device) + "/" + name);
    std::string value;
    std::getline(in, value);
    return value;
  }
  /// Which use of its loop device this attachment is. The kernel counts them, and takes loop devices that
  /// came free for the next user.
  static std::string use_of(const DeviceState& state) { return attribute(state, "diskseq"); }
  /// Whether the loop device that was `use` of it is free, or somebody else's, within 5 s.
  static bool came_free(const DeviceState& state, const std::string& use) {
    for (int i = 0; i < 500; ++i) {
      if (attribute(state, "loop/dio").empty() || use_of(state) != use) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  /// What the daemon of device 0 wrote, also of one that failed.
  [[nodiscard]] std::string log_text() const {
    std::string text;
    for (const char* name : {"/run/ploop0/log", "/run/ploop0.failed.log"}) {
      std::ifstream in(directory_ + name);
      for (std::string line; std::getline(in, line);)
        text += line + "\n";
    }
    return text;
  }
  static bool ends(int pid) {
    for (int i = 0; i < 500; ++i) {
      // A zombie counts as ended: whether somebody reaps it is not our business.
      std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
      std::string word;
      char state = 'X';
      if (stat >> word >> word >> state; !stat || state == 'Z' || state == 'X') return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  /// The worker that serves device 0 when it is not `last`; waits for one at most 20 s. 0: there is none.
  static int other_worker(int last) {
    for (int i = 0; i < 2000; ++i) {
      const Result<std::vector<DeviceState>> devices = list_devices();
      if (devices && !devices->empty() && devices->front().worker_pid != last)
        return devices->front().worker_pid;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return 0;
  }
  /// Kills one worker after the other, until the guardian gives up.
  static void kill_workers(const DeviceState& state) {
    for (int i = 0; i < 2000 && ::kill(state.guardian_pid, 0) == 0; ++i) {
      const Result<std::vector<DeviceState>> devices = list_devices();
      if (!devices || devices->empty()) break;
      ::kill(devices->front().worker_pid, SIGKILL);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  static int child_of(int parent, int not_this) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const int pid = std::atoi(entry.path().filename().c_str());
      std::ifstream stat(entry.path() / "stat");
      std::string word;
      int found = 0;
      if (pid > 0 && pid != not_this && (stat >> word >> word >> word >> found) && found == parent)
        return pid;
    }
    return -1;
  }
  std::string directory_;
  std::vector<Lifeline> lifelines_;
};

}  // namespace ploop::control
