// What must still work inside, and that each layer holds by itself. The ways out are in
// sandbox_escape_test.cpp.
#include "daemon/sandbox.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "daemon/sandbox_parts.hpp"
#include "daemon/sandbox_test_support.hpp"
#include "io/posix_file.hpp"

namespace ploop::daemon {
namespace {

/// Name to value of the lines of a status file of /proc.
std::map<std::string, std::string> process_status(const std::string& path) {
  std::map<std::string, std::string> fields;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(":\t");
    if (colon != std::string::npos) fields[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return fields;
}

/// Statuses of all threads of a child that goes into the sandbox with one thread more and then waits.
std::vector<std::map<std::string, std::string>> statuses_of_confined(SandboxOptions options) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::alarm(20);
    options.start_threads = [] {
      std::thread([] { ::poll(nullptr, 0, -1); }).detach();
      return Status{};
    };
    const Result<SandboxReport> report = enter_sandbox(options);
    const char byte = report ? 'y' : 'n';
    static_cast<void>(!::write(ends[1], &byte, 1));
    ::poll(nullptr, 0, -1);
    ::_exit(0);
  }
  char byte = 'n';
  const ssize_t n = ::read(ends[0], &byte, 1);
  std::vector<std::map<std::string, std::string>> threads;
  if (n == 1 && byte == 'y') {
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
      threads.push_back(process_status(task.path() / "status"));
    }
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  return threads;
}

TEST(Sandbox, ConfinesEveryThread) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer has threads of its own";
#endif
  const auto threads = statuses_of_confined({});
  ASSERT_EQ(threads.size(), 2U);
  const bool filtered = can_have("seccomp");
  for (auto status : threads) {
    EXPECT_EQ(status["NoNewPrivs"], "1");
    EXPECT_EQ(status["Seccomp"], filtered ? "2" : "0");
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"})
      EXPECT_EQ(status[set], "0000000000000000") << set;
    if (::geteuid() == 0) {
      EXPECT_EQ(status["CapBnd"], "0000000000000000");
    }
  }
}

TEST(Sandbox, SaysWhatItConsistsOf) {
  const int status = run_child(false, [](const Captive&) -> long {
    auto ring = io::UringRing::create(8, io::UringRing::Start::Disabled);
    SandboxOptions options;
    options.ring = ring->get();
    const Result<SandboxReport> report = enter_sandbox(options);
    if (!report) return -1;
    for (const std::string& part : report->missing) {
      static_cast<void>(!::write(STDERR_FILENO, (part + "\n").data(), part.size() + 1));
    }
    return report->in_force.size() + report->missing.size() == 4 && report->in_force.front() == "capabilities"
               ? 0
               : -1;
  });
  EXPECT_EQ(describe_status(status), "success");
}

TEST(Sandbox, FailsWithoutARestrictedRingWhenItIsRequired) {
  const int status = run_child(false, [](const Captive&) -> long {
    auto ring = io::UringRing::create(8);  // can't be restricted any more
    SandboxOptions options;
    options.ring = ring->get();
    options.required = true;
    const Result<SandboxReport> report = enter_sandbox(options);
    return !report && report.error().what.find("ring: ") != std::string::npos ? 0 : -1;
  });
  EXPECT_EQ(describe_status(status), "success");
}

/// What a worker does all day.
long work(const Captive& c) {
  char bytes[4096] = "x";
  const auto step = [](bool good, int which) {
    if (!good) ::_exit(100 + which);
  };
  step(::pwrite(c.file, bytes, sizeof bytes, 0) == sizeof bytes, 0);
  step(::pread(c.file, bytes, sizeof bytes, 0) == sizeof bytes, 1);
  step(::ftruncate(c.file, 1 << 20) == 0 && ::fallocate(c.file, 0, 0, 1 << 20) == 0 &&
           ::fdatasync(c.file) == 0,
       2);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  step(::fcntl(c.file, F_OFD_SETLK, &lock) == 0, 3);
  file_clone_range range{};
  range.src_fd = c.file;
  range.src_length = 4096;
  range.dest_offset = 8192;
  ::ioctl(c.file, FICLONERANGE, &range);  // works on some file systems; asking must not end us
  step(::lseek(c.file, 0, SEEK_HOLE) >= 0, 4);
  off_t from = 0;
  off_t to = 65536;
  ::copy_file_range(c.file, &from, c.file, &to, 4096, 0);
  ::sync_file_range(c.file, 0, 4096, SYNC_FILE_RANGE_WRITE);
  void* memory = ::mmap(nullptr, 1 << 22, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  step(memory != MAP_FAILED && ::mlock(memory, 1 << 22) == 0, 5);
  memory = ::mremap(memory, 1 << 22, 1 << 23, MREMAP_MAYMOVE);
  step(memory != MAP_FAILED && ::munmap(memory, 1 << 23) == 0, 6);
  const std::vector<std::byte> large(std::size_t{64} << 20);
  step(large.back() == std::byte{0}, 7);
  step(::send(c.socket, "x", 1, MSG_NOSIGNAL) == 1, 8);
  pollfd wait{c.socket, POLLOUT, 0};
  step(::poll(&wait, 1, 100) == 1, 9);
  struct Flag : io::Completion {
    bool done = false;
  } flag;
  flag.finished = [](io::Completion* f) { static_cast<Flag*>(f)->done = true; };
  c.ring->submit_poll(c.socket, POLLOUT, &flag);
  while (!flag.done)
    c.ring->run_once(true);
  step((flag.result & POLLOUT) != 0, 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  return 0;
}

TEST(Sandbox, LetsAWorkerWork) {
  const int status = run_child(true, work);
  EXPECT_EQ(describe_status(status), "success");
}

TEST(Sandbox, LetsAProcessEndItselfAsUsual) {
  const int aborted = run_child(true, [](const Captive&) -> long { std::abort(); });
  EXPECT_EQ(describe_status(aborted), "signal " + std::to_string(SIGABRT));
}

// Each layer by itself: what one lets through stops at another.

TEST(SandboxLayer, LandlockForbidsFilesByName) {
  const int status = run_child(false, [](const Captive& c) -> long {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!sandbox::forbid_files()) ::_exit(kNoSandbox);
    // Still usable: what is open.
    if (::pwrite(c.file, "x", 1, 0) != 1 || ::ftruncate(c.file, 100) != 0) ::_exit(kNoSandbox);
    const int fd = ::open("/etc/passwd", O_RDONLY);
    return fd < 0 && errno == EACCES ? -1 : fd;
  });
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoSandbox) GTEST_SKIP() << "no Landlock here";
  EXPECT_EQ(describe_status(status), "error");
}

TEST(SandboxLayer, WithoutCapabilitiesNothingCanBeMounted) {
  const int status = run_child(false, [](const Captive&) -> long {
    if (!sandbox::drop_privileges()) ::_exit(kNoSandbox);
    const long context = ::syscall(SYS_fsopen, "tmpfs", 0);
    return context < 0 && errno == EPERM ? -1 : context;
  });
  EXPECT_EQ(describe_status(status), "error");
}

TEST(SandboxLayer, LimitsLeaveRoomForTheMap) {
  const int status = run_child(false, [](const Captive&) -> long {
    if (!sandbox::set_limits() || !sandbox::drop_privileges()) ::_exit(kNoSandbox);
    void* memory = ::mmap(nullptr, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rlimit core{1, 1};
    ::getrlimit(RLIMIT_CORE, &core);
    return ::mlock(memory, 16 << 20) == 0 && core.rlim_max == 0 ? 0 : -1;
  });
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNoSandbox)
    GTEST_SKIP() << "the limit of locked memory can't be raised here";
  EXPECT_EQ(describe_status(status), "success");
}

}  // namespace
}  // namespace ploop::daemon
