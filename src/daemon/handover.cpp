#include "daemon/handover.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "control/json.hpp"
#include "control/protocol.hpp"
#include "engine/device.hpp"

namespace ploop::daemon {
namespace {

using control::Json;

/// Of this text and of everything between guardian and keeper, which stays from one program to the next.
constexpr int kFormat = 1;
constexpr std::size_t kMaxText = 16u << 20;
constexpr std::string_view kWhat = "state of a running device";

Result<std::string> object_field(const Json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_object())
    return fail(ExitCode::Protocol, std::string("\"") + name + "\" is missing");
  return control::to_line(*found);
}

/// A program that does not know the member has none.
Result<std::vector<int>> files_of(const Json& json) {
  std::vector<int> files;
  const auto list = json.find("files");
  if (list == json.end()) return files;
  if (!list->is_array() || list->size() > control::kMaxDeltas)
    return fail(ExitCode::Protocol, "\"files\" is no list of descriptors");
  for (const Json& number : *list) {
    if (!number.is_number_integer() || !std::in_range<int>(number.get<std::int64_t>())) {
      return fail(ExitCode::Protocol, "\"files\" holds something else");
    }
    files.push_back(number.get<int>());
  }
  return files;
}

/// Of texts that this program made itself.
Json parsed(const std::string& object) {
  return Json::parse(object, nullptr, false);
}

}  // namespace

std::string encode_handover(const Handover& h) {
  return control::to_line({{"format", kFormat},
                           {"map_layout", engine::Device::map_layout()},
                           {"program", h.program},
                           {"spec", parsed(control::encode_attach_spec(h.spec))},
                           {"state", parsed(control::encode_device_state(h.state))},
                           {"side", parsed(h.side)},
                           {"keeper_pid", h.keeper_pid},
                           {"keeper_channel", h.keeper_channel},
                           {"pending_sizes", h.pending_sizes},
                           {"lock", h.lock},
                           {"map", h.map},
                           {"control_socket", h.control_socket},
                           {"admin_socket", h.admin_socket},
                           {"asker", h.asker},
                           {"request", h.request},
                           {"files", h.files},
                           {"previous", h.previous},
                           {"failed", h.failed}});
}

Result<Handover> decode_handover(std::string_view text) {
  const Json json = TRY(control::parse_object(text, kWhat));
  if (TRY(control::number_field<int>(json, "format")) != kFormat ||
      TRY(control::unsigned_field(json, "map_layout")) != engine::Device::map_layout()) {
    return fail(
        ExitCode::Protocol,
        "This program has another idea of a running device; unmount and mount the disk to change programs");
  }
  Handover h;
  h.program = TRY(control::string_field(json, "program"));
  const std::string spec = TRY(object_field(json, "spec"));
  h.spec = TRY(control::decode_attach_spec(spec));
  const std::string state = TRY(object_field(json, "state"));
  h.state = TRY(control::decode_device_state(state));
  h.side = TRY(object_field(json, "side"));
  h.keeper_pid = TRY(control::number_field<pid_t>(json, "keeper_pid"));
  h.keeper_channel = TRY(control::number_field<int>(json, "keeper_channel"));
  h.pending_sizes = TRY(control::number_field<unsigned>(json, "pending_sizes"));
  h.lock = TRY(control::number_field<int>(json, "lock"));
  h.map = TRY(control::number_field<int>(json, "map"));
  h.control_socket = TRY(control::number_field<int>(json, "control_socket"));
  h.admin_socket = TRY(control::number_field<int>(json, "admin_socket"));
  h.asker = TRY(control::number_field<int>(json, "asker"));
  h.request = TRY(control::unsigned_field(json, "request"));
  h.files = TRY(files_of(json));
  h.previous = TRY(control::number_field<int>(json, "previous"));
  h.failed = TRY(control::string_field(json, "failed"));
  return h;
}

Result<Fd> handover_file(const Handover& handover) {
  Fd file{::memfd_create("ploop-handover", MFD_CLOEXEC)};
  if (!file) return fail_errno(ExitCode::System, "make a memory file");
  TRY(write_all(file.get(), encode_handover(handover), "memory file"));
  return file;
}

Result<std::string> read_handover(int file) {
  if (::lseek(file, 0, SEEK_SET) != 0) return fail_errno(ExitCode::Read, "rewind the state of the device");
  return read_all(file, kMaxText, std::string(kWhat));
}

int answer_can_take_over(int text, int answer, std::string_view version) {
  const Result<std::string> read = read_handover(text);
  const Result<Handover> handover = read ? decode_handover(*read) : fail(Error(read.error()));
  return tell_answer(answer, handover ? Status{} : fail(Error(handover.error())), version);
}

int tell_answer(int answer, const Status& could, std::string_view version) {
  const std::string line =
      could ? control::to_line({{"program", std::string(version)}}) : control::encode_outcome(could);
  const bool told = write_all(answer, line + "\n", "answer").has_value();
  return told && could ? 0 : 1;
}

void set_kept(const std::vector<int>& descriptors, bool kept) {
  for (const int fd : descriptors) {
    if (fd >= 0) ::fcntl(fd, F_SETFD, kept ? 0 : FD_CLOEXEC);
  }
}

Status become_program(const Fd& program, const Fd& text, std::vector<int> kept, Resume how) {
  kept.push_back(text.get());
  std::string number = std::to_string(text.get());
  std::string name = "ploopd";
  std::string verb = "resume";
  std::string rehearsal = "rehearsal";
  char* const last = how == Resume::Rehearsal ? rehearsal.data() : nullptr;
  const std::array<char*, 5> arguments{name.data(), verb.data(), number.data(), last, nullptr};
  set_kept(kept, true);
  ::syscall(SYS_execveat, program.get(), "", arguments.data(), environ, AT_EMPTY_PATH);
  const int error = errno;
  set_kept(kept, false);
  return fail(errno_error(ExitCode::System, error, "start the program"));
}

}  // namespace ploop::daemon
