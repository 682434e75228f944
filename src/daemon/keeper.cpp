#include "daemon/keeper.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "control/json.hpp"
#include "control/protocol.hpp"
#include "daemon/safety.hpp"
#include "transport/fuse/connection.hpp"
#include "transport/fuse/loop_device.hpp"

namespace ploop::daemon {
namespace {

using transport::fuse::LoopDevice;

constexpr int kFirstFreeFd = 5;

/// The loop device takes over the size that the FUSE file has now.
void resize(LoopDevice& loop, const Fd& file, Channel& guardian) {
  const Status resized = loop.take_size_of(file);
  ignore(guardian.send("resized", control::encode_outcome(resized)),
         "a guardian that is gone takes the keeper with it");
}

/// A mounted device or partition is claimed exclusively; that is known without touching anything.
bool claimed(const LoopDevice& loop) {
  const Fd probe{::open(loop.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)};
  return !probe && errno == EBUSY;
}

/// True: released, the keeper's work is done.
bool release(LoopDevice& loop, Channel& guardian) {
  if (claimed(loop)) {
    ignore(guardian.send("busy"), "a guardian that is gone takes the keeper with it");
    return false;
  }
  ignore(guardian.send("releasing"), "a guardian that is gone takes the keeper with it");
  const Status flushed = loop.flush();
  const Result<bool> gone = loop.release();
  if (gone && !*gone) {
    ignore(guardian.send("busy"), "a guardian that is gone takes the keeper with it");
    return false;
  }
  // A failed write-back is reported, but the device goes: nobody has it open, and trying again would not
  // help.
  ignore(guardian.send("released", control::encode_outcome(flushed)),
         "a guardian that is gone takes the keeper with it");
  return true;
}

[[noreturn]] void run(Channel guardian, Fd mount, bool read_only) {
  const Result<Fd> file = transport::fuse::open_root_file(mount, !read_only);
  Result<LoopDevice> loop = file ? LoopDevice::attach(*file, read_only) : fail(file.error());
  mount.reset();  // the loop device and `file` hold the file, which holds the mount
  if (!loop) {
    ignore(guardian.send("error", control::encode_error_object(loop.error())), "nobody to tell");
    ::_exit(1);
  }
  const control::Json body{{"path", loop->path()},
                           {"major", loop->major()},
                           {"minor", loop->minor()},
                           {"direct_io", loop->direct_io()}};
  if (!guardian.send("attached", control::to_line(body))) ::_exit(1);
  for (;;) {
    const Result<Message> message = guardian.wait(-1);
    if (!message) ::_exit(1);
    if (message->name == "release" && release(*loop, guardian)) ::_exit(0);
    if (message->name == "resize") resize(*loop, *file, guardian);
  }
}

}  // namespace

Result<KeeperProcess> start_keeper(const Fd& mount, bool read_only) {
  auto ends = TRY(Channel::pair());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno(ExitCode::System, "fork");
  if (pid > 0) return KeeperProcess{pid, std::move(ends.first)};
  if (!die_with_parent(parent)) ::_exit(1);
  // Above all the keeper must not hold /dev/fuse: then its death, or the guardian's, would not end the
  // connection.
  const int channel = ::fcntl(ends.second.fd(), F_DUPFD, 16);
  const int root = ::fcntl(mount.get(), F_DUPFD, 16);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  ::dup2(channel, kFirstFreeFd - 2);
  ::dup2(root, kFirstFreeFd - 1);
  ::close_range(kFirstFreeFd, ~0u, 0);
  run(Channel(Fd{kFirstFreeFd - 2}), Fd{kFirstFreeFd - 1}, read_only);
}

}  // namespace ploop::daemon
