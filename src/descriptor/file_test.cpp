// What touches files: names of images, the lock, load and store.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "descriptor/image_path.hpp"
#include "descriptor/open_beneath.hpp"
#include "descriptor/store.hpp"
#include "descriptor/test_documents.hpp"
#include "descriptor/xml.hpp"

namespace ploop::descriptor {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class DescriptorFiles : public ::testing::Test {
 protected:
  DescriptorFiles() {
    std::string name = (fs::temp_directory_path() / "ploop_descriptor_XXXXXX").string();
    top_ = fs::canonical(::mkdtemp(name.data())).string();
    dir_ = top_ + "/disk";
    fs::create_directories(dir_ + "/sub");
    write(dir_ + "/root.hdd", "base");
    write(dir_ + "/sub/delta", "delta");
    write(top_ + "/outside", "secret");
    xml_ = dir_ + "/DiskDescriptor.xml";
  }
  ~DescriptorFiles() override { fs::remove_all(top_); }

  static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

  [[nodiscard]] std::string read_image(const std::string& file, const PathPolicy& policy = {}) const {
    const auto fd = open_image(dir_, file, O_RDONLY, policy);
    if (!fd) return "exit " + std::to_string(static_cast<int>(fd.error().code));
    return read_all(fd->get(), 100, file).value_or("unreadable");
  }

  std::string top_, dir_, xml_;
};

TEST_F(DescriptorFiles, ImagesBelowTheDirectoryOpen) {
  EXPECT_EQ(read_image(dir_ + "/root.hdd"), "base");
  EXPECT_EQ(read_image(dir_ + "/sub/delta"), "delta");
  EXPECT_EQ(*image_path(dir_, dir_ + "/sub/delta"), dir_ + "/sub/delta");
}

TEST_F(DescriptorFiles, NamesThatLeaveTheDirectoryAreRefused) {
  fs::create_symlink(top_ + "/outside", dir_ + "/link");
  fs::create_symlink("root.hdd", dir_ + "/inner-link");
  fs::create_directory_symlink(top_, dir_ + "/up");
  for (const std::string& file :
       {dir_ + "/../outside", dir_ + "/sub/../../outside", top_ + "/outside", dir_ + "/link",
        dir_ + "/up/outside", dir_ + "/up/disk/root.hdd", dir_ + "/inner-link", dir_ + "/./root.hdd",
        dir_ + "/sub/../root.hdd", dir_ + "//root.hdd", dir_ + "/", std::string("/etc/passwd"),
        std::string("/proc/self/fd/0"), dir_ + "/root.hdd/x"}) {
    EXPECT_EQ(read_image(file), "exit 39") << file;
  }
}

TEST_F(DescriptorFiles, OnlyRegularFilesOpenAndAFifoDoesNotHang) {
  ASSERT_EQ(::mkfifo((dir_ + "/fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_image(dir_ + "/fifo"), "exit 39");
  EXPECT_EQ(read_image(dir_ + "/sub"), "exit 39");
  EXPECT_EQ(read_image(dir_ + "/missing"), "exit 4");
  if (::mknod((dir_ + "/null").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0) {
    EXPECT_EQ(read_image(dir_ + "/null"), "exit 39");
  }
}

TEST_F(DescriptorFiles, AnExternalFileOpensOnlyWhenItIsNamed) {
  const std::string file = top_ + "/outside";
  EXPECT_EQ(read_image(file, {.allow_external = {top_ + "/other", file}}), "secret");
  EXPECT_EQ(read_image(file, {.allow_external = {top_ + "/./disk/../outside"}}), "secret");
  EXPECT_EQ(read_image(dir_ + "/../outside", {.allow_external = {file}}), "secret");
  EXPECT_EQ(*image_path(dir_, dir_ + "/../outside", {.allow_external = {file}}), file);
  EXPECT_EQ(read_image(file, {.allow_external = {top_}}), "exit 39");
  EXPECT_EQ(read_image(file, {.allow_external = {dir_ + "/root.hdd"}}), "exit 39");
}

TEST_F(DescriptorFiles, AnAbsoluteNameOfTheSameDirectoryOpens) {
  fs::create_directory_symlink(dir_, top_ + "/alias");
  EXPECT_EQ(read_image(top_ + "/alias/root.hdd"), "base");
  fs::create_symlink(top_ + "/outside", dir_ + "/link");
  EXPECT_EQ(read_image(top_ + "/alias/link"), "exit 39");
}

TEST_F(DescriptorFiles, BothWaysOfOpeningBeneathAgree) {
  fs::create_directory_symlink(top_, dir_ + "/up");
  fs::create_symlink("root.hdd", dir_ + "/link");
  const Fd root{::open(dir_.c_str(), O_PATH | O_DIRECTORY)};
  for (const char* name : {"root.hdd", "sub/delta", "up/outside", "link", "missing", "root.hdd/x", "sub"}) {
    const Fd fast = open_beneath(root.get(), name, O_RDONLY);
    const Fd slow = open_beneath_walking(root.get(), name, O_RDONLY);
    EXPECT_EQ(fast.valid(), slow.valid()) << name;
  }
  EXPECT_TRUE(open_beneath_walking(root.get(), "sub/delta", O_RDONLY));
  EXPECT_FALSE(open_beneath_walking(root.get(), "up/outside", O_RDONLY));
}

TEST_F(DescriptorFiles, ADirectorySwappedForALinkNeverLeadsOutside) {
  write(top_ + "/delta", "secret");
  fs::create_directory_symlink(top_, dir_ + "/evil");
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) {
      ::renameat2(AT_FDCWD, (dir_ + "/evil").c_str(), AT_FDCWD, (dir_ + "/sub").c_str(), RENAME_EXCHANGE);
    }
  });
  int opened = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string content = read_image(dir_ + "/sub/delta");
    EXPECT_NE(content, "secret");
    if (content == "delta") ++opened;
  }
  stop = true;
  swapper.join();
  EXPECT_GT(opened, 0);
}

TEST_F(DescriptorFiles, StoreThenLoadGivesTheSameDisk) {
  Disk disk = new_disk(
      {.directory = dir_, .image = dir_ + "/root.hdd", .size_sectors = 4096, .cylinders = 4, .heads = 16});
  ASSERT_TRUE(store(disk, xml_));
  const auto loaded = load(xml_);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_EQ(*loaded, disk);
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(dir_))
    ++entries;
  EXPECT_EQ(entries, 3u) << "a temporary file was left behind";
}

TEST_F(DescriptorFiles, StoreNeverWritesAnInconsistentDisk) {
  Disk disk = new_disk({.directory = dir_, .image = dir_ + "/root.hdd", .size_sectors = 4096});
  ASSERT_TRUE(store(disk, xml_));
  const std::string before = *read_file(xml_, 1 << 20);
  disk.shots[0].parent = testing::kA;
  EXPECT_FALSE(store(disk, xml_));
  EXPECT_EQ(*read_file(xml_, 1 << 20), before);
}

TEST_F(DescriptorFiles, StoreConvertsTheOldFormat) {
  Disk disk = new_disk({.directory = dir_, .image = dir_ + "/root.hdd", .size_sectors = 4096});
  disk.images[0].uuid = disk.shots[0].uuid = disk.top_uuid = testing::kA;
  ASSERT_TRUE(store(disk, xml_));
  EXPECT_EQ(load(xml_)->top_uuid, testing::kTop);
}

TEST_F(DescriptorFiles, LoadTellsMissingFromUnreadable) {
  const auto code = [&](const std::string& path) { return static_cast<int>(load(path).error().code); };
  EXPECT_EQ(code(dir_ + "/none.xml"), 39);
  EXPECT_EQ(load("none.xml").error().message(), "Can't resolve none.xml: No such file or directory");
  write(dir_ + "/empty.xml", "");
  EXPECT_EQ(code(dir_ + "/empty.xml"), 23);
  EXPECT_EQ(code(dir_ + "/sub"), 39);
  ASSERT_EQ(::mkfifo((dir_ + "/fifo.xml").c_str(), 0600), 0);
  EXPECT_EQ(code(dir_ + "/fifo.xml"), 39);
  std::ofstream(dir_ + "/huge.xml").close();
  fs::resize_file(dir_ + "/huge.xml", kMaxFileBytes + 1);
  EXPECT_EQ(code(dir_ + "/huge.xml"), 23);
}

TEST_F(DescriptorFiles, LoadResolvesALinkToTheDescriptor) {
  Disk disk = new_disk({.directory = dir_, .image = dir_ + "/root.hdd", .size_sectors = 4096});
  ASSERT_TRUE(store(disk, xml_));
  fs::create_symlink(xml_, top_ + "/link.xml");
  EXPECT_EQ(load(top_ + "/link.xml")->directory, dir_);
}

/// Runs `body` in another process and tells what it returned.
template <typename Body>
int in_child(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(DescriptorFiles, ALockHeldElsewhereTimesOut) {
  const auto held = DescriptorLock::acquire(xml_);
  ASSERT_TRUE(held) << held.error().message();
  struct stat info {};
  ASSERT_EQ(::stat((xml_ + ".lck").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(info.st_size, 0);
  const int code = in_child([&] {
    const auto second = DescriptorLock::acquire(xml_, {.timeout = 120ms});
    if (second) return 0;
    const bool text =
        second.error().message() == "The " + xml_ + ".lck is locked: Resource temporarily unavailable";
    return text ? static_cast<int>(second.error().code) : 255;
  });
  EXPECT_EQ(code, 23);
}

TEST_F(DescriptorFiles, EachKindOfLockAloneKeepsUsOut) {
  const std::string lck = xml_ + ".lck";
  const Fd file{::open(lck.c_str(), O_RDWR | O_CREAT, 0600)};
  ASSERT_EQ(::flock(file.get(), LOCK_EX), 0);
  EXPECT_FALSE(DescriptorLock::acquire(xml_, {.timeout = 60ms}));
  ASSERT_EQ(::flock(file.get(), LOCK_UN), 0);
  struct flock range {};
  range.l_type = F_WRLCK;
  ASSERT_EQ(::fcntl(file.get(), F_OFD_SETLK, &range), 0);
  EXPECT_FALSE(DescriptorLock::acquire(xml_, {.timeout = 60ms}));
  range.l_type = F_UNLCK;
  ASSERT_EQ(::fcntl(file.get(), F_OFD_SETLK, &range), 0);
  EXPECT_TRUE(DescriptorLock::acquire(xml_, {.timeout = 60ms}));
}

TEST_F(DescriptorFiles, ALockIsFreeAfterItsHolderDied) {
  EXPECT_EQ(in_child([&] { return DescriptorLock::acquire(xml_) ? 7 : 1; }), 7);
  EXPECT_TRUE(DescriptorLock::acquire(xml_, {.timeout = 0ms}));
}

TEST_F(DescriptorFiles, AWaiterGetsTheLockThatIsGivenBack) {
  auto held = std::make_unique<DescriptorLock>(std::move(*DescriptorLock::acquire(xml_)));
  std::thread owner([&] {
    std::this_thread::sleep_for(80ms);
    held.reset();
  });
  EXPECT_TRUE(DescriptorLock::acquire(xml_, {.timeout = 5s}));
  owner.join();
}

TEST_F(DescriptorFiles, AWaiterDoesNotKeepALockFileThatWasRemoved) {
  auto held = std::make_unique<DescriptorLock>(std::move(*DescriptorLock::acquire(xml_)));
  std::thread owner([&] {
    std::this_thread::sleep_for(80ms);
    held->remove_file();
    held.reset();
  });
  const auto second = DescriptorLock::acquire(xml_, {.timeout = 5s});
  owner.join();
  ASSERT_TRUE(second);
  EXPECT_TRUE(fs::exists(xml_ + ".lck")) << "the lock must be on the file that has the name";
  EXPECT_FALSE(DescriptorLock::acquire(xml_, {.timeout = 0ms}));
}

TEST_F(DescriptorFiles, LockAndLoadReadsWhatWasStoredWhileItWaited) {
  Disk disk = new_disk({.directory = dir_, .image = dir_ + "/root.hdd", .size_sectors = 4096});
  ASSERT_TRUE(store(disk, xml_));
  auto held = std::make_unique<DescriptorLock>(std::move(*DescriptorLock::acquire(xml_)));
  std::thread owner([&] {
    std::this_thread::sleep_for(80ms);
    disk.size_sectors = 8192;
    EXPECT_TRUE(store(disk, xml_));
    held.reset();
  });
  const auto locked = lock_and_load(xml_, {.timeout = 5s});
  owner.join();
  ASSERT_TRUE(locked) << locked.error().message();
  EXPECT_EQ(locked->disk.size_sectors, 8192u);
}

TEST_F(DescriptorFiles, ALockFileThatIsALinkIsRefused) {
  fs::create_symlink(top_ + "/outside", xml_ + ".lck");
  const auto lock = DescriptorLock::acquire(xml_);
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().code, ExitCode::Lock);
}

}  // namespace
}  // namespace ploop::descriptor
