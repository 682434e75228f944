#include "control/process.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <charconv>
#include <cstring>

#include "base/paths.hpp"

namespace ploop::control {
namespace {

constexpr int kBacklog = 16;

/// "/proc/self/fd/DIRECTORY/NAME" is short whatever the directory's path is.
Result<sockaddr_un> address_in(const Fd& directory, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = "/proc/self/fd/" + std::to_string(directory.get()) + "/" + base_name(path);
  if (name.size() >= sizeof address.sun_path) return fail(ExitCode::Param, "Socket name too long: " + path);
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  return address;
}

Result<Fd> stream_socket() {
  Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket) return fail_errno(ExitCode::System, "make a socket");
  return socket;
}

}  // namespace

std::uint64_t process_start_time(int pid) {
  if (pid <= 0) return 0;
  const Result<std::string> stat = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!stat) return 0;
  // Field 22; the second one, in parentheses, may hold anything.
  std::size_t at = stat->rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field)
    at = stat->find(' ', at + 1);
  if (at == std::string::npos) return 0;
  std::uint64_t ticks = 0;
  std::from_chars(stat->data() + at + 1, stat->data() + stat->size(), ticks);
  return ticks;
}

Result<Fd> listen_at(const std::string& path) {
  const Fd directory = TRY(open_file(directory_of(path), O_PATH | O_DIRECTORY));
  const sockaddr_un address = TRY(address_in(directory, path));
  Fd socket = TRY(stream_socket());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(address.sun_path, 0600) != 0 || ::listen(socket.get(), kBacklog) != 0) {
    return fail_errno(ExitCode::System, "listen at " + path);
  }
  return socket;
}

Result<Fd> connect_to(const std::string& path) {
  const Fd directory = TRY(open_file(directory_of(path), O_PATH | O_DIRECTORY));
  const sockaddr_un address = TRY(address_in(directory, path));
  Fd socket = TRY(stream_socket());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_errno(ExitCode::Open, "connect to " + path);
  }
  return socket;
}

}  // namespace ploop::control
