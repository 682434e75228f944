#include "daemon/stopped_call.hpp"

#include <fcntl.h>
#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>

#include "base/fd.hpp"

namespace ploop::daemon {
namespace {

/// Of the kernel's records, AUDIT_SECCOMP.
constexpr std::string_view kRecordType = "audit: type=1326 ";
constexpr std::size_t kLongestRecord = 8192;

/// The number behind " NAME="; -1 without one.
int field(std::string_view record, std::string_view name) {
  const std::size_t at = record.find(name);
  if (at == std::string_view::npos) return -1;
  const std::string_view rest = record.substr(at + name.size());
  int value = -1;
  std::from_chars(rest.data(), rest.data() + rest.size(), value);
  return value;
}

std::string name_of(int call) {
  const std::unique_ptr<char, void (*)(void*)> name(seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call),
                                                    &std::free);
  return name ? name.get() : std::to_string(call);
}

}  // namespace

int stopped_call_in(std::string_view record, pid_t pid) {
  if (record.find(kRecordType) == std::string_view::npos || field(record, " pid=") != pid) return -1;
  return field(record, " syscall=");
}

std::string stopped_call(pid_t pid) {
  int call = -1;
  if (const Result<Fd> log = open_file("/dev/kmsg", O_RDONLY | O_NONBLOCK)) {
    char record[kLongestRecord];
    for (;;) {
      const ssize_t n = ::read(log->get(), record, sizeof record);
      if (n < 0 && (errno == EPIPE || errno == EINTR)) continue;  // EPIPE: overwritten meanwhile
      if (n <= 0) break;
      const int found = stopped_call_in({record, static_cast<std::size_t>(n)}, pid);
      if (found >= 0) call = found;
    }
  }
  return call >= 0 ? "system call " + name_of(call) : "system call unknown; an audit log may have it";
}

}  // namespace ploop::daemon
