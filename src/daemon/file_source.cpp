#include "daemon/file_source.hpp"

#include <algorithm>

#include "control/json.hpp"
#include "control/protocol.hpp"

namespace ploop::daemon {
namespace {

/// A file system that does not answer keeps the guardian from answering.
constexpr int kAnswerTimeoutMs = 60'000;

Error in_use(const std::string& path) {
  return Error{ExitCode::Mount, 0, "Image " + path + " is in use by another process"};
}

}  // namespace

io::PosixOpenOptions confined(bool writable, bool direct) {
  io::PosixOpenOptions options;
  options.writable = writable;
  options.direct = direct;
  options.follow = false;
  return options;
}

Result<Message> GuardianFiles::ask(const char* what, const std::string& body, std::string_view expected) {
  TRY(guardian_.send(what, body));
  Message answer = TRY(guardian_.wait(kAnswerTimeoutMs));
  if (answer.name == "error") return fail(control::decode_error_object(answer.body));
  if (answer.name != expected)
    return fail(ExitCode::Protocol, "Unexpected answer of the guardian: " + answer.name);
  return answer;
}

Result<std::unique_ptr<io::PosixFile>> GuardianFiles::open(const std::string& path, bool writable,
                                                           bool direct, FileRole role) {
  const control::Json request{{"path", control::bytes_to_json(path)},
                              {"writable", writable},
                              {"direct", direct},
                              {"fresh", role == FileRole::Fresh}};
  Message opened = TRY(ask("open", control::to_line(request), "opened"));
  const control::Json body = TRY(control::parse_object(opened.body, "answer of the guardian"));
  io::PosixDescriptors descriptors;
  descriptors.cached = std::move(opened.descriptor);
  if (TRY(control::bool_field(body, "direct"))) {
    Message second = TRY(guardian_.wait(kAnswerTimeoutMs));
    if (second.name != "direct")
      return fail(ExitCode::Protocol, "Unexpected answer of the guardian: " + second.name);
    descriptors.direct = std::move(second.descriptor);
  }
  return io::PosixFile::adopt(path, std::move(descriptors));
}

Error GuardianFiles::busy(const std::string& path) {
  const control::Json request{{"path", control::bytes_to_json(path)}};
  const Result<Message> answer = ask("user", control::to_line(request), "user");
  if (!answer) return in_use(path);
  const Result<control::Json> body = control::parse_object(answer->body, "answer of the guardian");
  const Result<std::string> message = body ? control::string_field(*body, "message") : fail(body.error());
  return message ? Error{ExitCode::Mount, 0, *message} : in_use(path);
}

Result<PreparedFiles> PreparedFiles::open_all(const control::AttachSpec& spec, LevelFiles& levels) {
  PreparedFiles files;
  for (const control::DeltaSpec& delta : spec.deltas) {
    const bool writable = !delta.read_only;
    files.files_.push_back(
        {delta.path, writable, TRY(levels.open_level(delta.path, confined(writable, true)))});
  }
  return files;
}

Result<std::unique_ptr<io::PosixFile>> PreparedFiles::open(const std::string& path, bool writable, bool,
                                                           FileRole) {
  const auto file = std::ranges::find_if(
      files_, [&](const Prepared& p) { return p.path == path && p.writable == writable; });
  if (file == files_.end()) return fail(ExitCode::Open, path + " has not been prepared");
  io::PosixDescriptors descriptors = std::move(file->descriptors);
  files_.erase(file);
  return io::PosixFile::adopt(path, std::move(descriptors));
}

Error PreparedFiles::busy(const std::string& path) {
  return in_use(path);
}

}  // namespace ploop::daemon
