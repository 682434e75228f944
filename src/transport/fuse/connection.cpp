#include "transport/fuse/connection.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

namespace ploop::transport::fuse {
namespace {

int fs_open(const char* type) {
  return static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}
int fs_config(const Fd& context, unsigned command, const char* key, const char* value) {
  return static_cast<int>(::syscall(SYS_fsconfig, context.get(), command, key, value, 0));
}

/// What the kernel wrote about a failed step; "" when nothing.
std::string kernel_words(const Fd& context) {
  char text[256];
  const ssize_t n = ::read(context.get(), text, sizeof text);
  return n > 0 ? " (" + std::string(text, static_cast<std::size_t>(n)) + ")" : "";
}

}  // namespace

Result<Connection> open_connection() {
  Connection connection;
  connection.device = TRY(open_file("/dev/fuse", O_RDWR | O_NONBLOCK, 0, ExitCode::Device));
  const Fd context{fs_open("fuse")};
  if (!context) return fail_errno(ExitCode::Device, "make a FUSE mount");
  const std::string device = std::to_string(connection.device.get());
  // The root is a regular file (0100600). allow_other: the loop device's kernel threads are not the mounting
  // process.
  struct Option {
    const char* key;
    const char* value;
  };
  for (const Option& option :
       {Option{"source", "ploop"}, Option{"fd", device.c_str()}, Option{"rootmode", "100600"},
        Option{"user_id", "0"}, Option{"group_id", "0"}}) {
    if (fs_config(context, FSCONFIG_SET_STRING, option.key, option.value) != 0) {
      return fail_errno(ExitCode::Device, std::string("set FUSE option ") + option.key);
    }
  }
  if (fs_config(context, FSCONFIG_SET_FLAG, "allow_other", nullptr) != 0 ||
      fs_config(context, FSCONFIG_CMD_CREATE, nullptr, nullptr) != 0) {
    Error error = errno_error(ExitCode::Device, "make a FUSE mount");
    error.what += kernel_words(context);
    return fail(std::move(error));
  }
  connection.mount = Fd{static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0))};
  if (!connection.mount) return fail_errno(ExitCode::Device, "make a detached mount");
  return connection;
}

Result<Fd> open_root_file(const Fd& mount, bool writable) {
  const std::string path = "/proc/self/fd/" + std::to_string(mount.get());
  Fd file{::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)};
  if (!file) return fail_errno(ExitCode::Device, "open the FUSE file");
  return file;
}

}  // namespace ploop::transport::fuse
