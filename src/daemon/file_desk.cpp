#include "daemon/file_desk.hpp"

#include <sys/stat.h>

#include <chrono>
#include <utility>

#include "base/log.hpp"
#include "base/paths.hpp"
#include "control/json.hpp"
#include "control/protocol.hpp"
#include "control/registry.hpp"
#include "daemon/file_source.hpp"

namespace ploop::daemon {
namespace {

constexpr auto kSendPatience = std::chrono::seconds(5);

Result<std::string> path_of(const control::Json& request) {
  if (!request.contains("path")) return fail(ExitCode::Protocol, "\"path\" is missing");
  return control::bytes_from_json(request["path"], "path");
}

/// Whatever names it has.
bool is_file(const control::DeltaSpec& delta, const std::string& path) {
  const auto file = file_id(path);
  return file && (delta.file ? delta.file : file_id(delta.path)) == file;
}

std::string describe_user(const std::string& path) {
  if (const auto devices = control::list_devices()) {
    for (const control::DeviceState& device : *devices) {
      for (const control::DeltaSpec& delta : device.deltas) {
        if (is_file(delta, path))
          return "Image " + path + " already used by device " + device_path(device.number);
      }
    }
  }
  return "Image " + path + " is in use by another process";
}

}  // namespace

FileDesk::FileDesk(const Authority& authority, LevelFiles& files, Channel worker)
    : authority_(&authority), files_(&files), worker_(std::move(worker)) {
  // A worker that asks and does not listen must not hold up the guardian for ever.
  worker_.limit_sending(kSendPatience);
}

void FileDesk::answer(const Message& request) {
  Status done = fail(ExitCode::Protocol, "unexpected request of the worker: " + request.name);
  if (request.name == "open") done = open(request.body);
  if (request.name == "user") done = user(request.body);
  if (done) return;
  ignore(worker_.send("error", control::encode_error_object(done.error())),
         "a dead worker is noticed by its end");
}

Result<io::PosixDescriptors> FileDesk::find(const std::string& path, const io::PosixOpenOptions& options,
                                            bool fresh) {
  Status allowed = authority_->may_open(path, options.writable);
  const control::DeltaSpec* const wanted = fresh ? authority_->wanted(path, options.writable) : nullptr;
  if (allowed && fresh && wanted == nullptr)
    allowed = fail(ExitCode::Open, "no command has named " + path + " to the worker");
  if (!allowed) {
    log_error("refused: {}", allowed.error().message());
    return fail(allowed.error());
  }
  return fresh ? files_->open_fresh(*wanted, options) : files_->open_level(path, options);
}

Status FileDesk::open(const std::string& body) {
  const control::Json json = TRY(control::parse_object(body, "request of the worker"));
  const std::string path = TRY(path_of(json));
  const bool writable = TRY(control::bool_field(json, "writable"));
  const bool direct = TRY(control::bool_field(json, "direct"));
  const bool fresh = json.contains("fresh") && TRY(control::bool_field(json, "fresh"));
  const io::PosixDescriptors file = TRY(find(path, confined(writable, direct), fresh));
  const control::Json answer{{"direct", file.direct.valid()}};
  TRY(worker_.send("opened", control::to_line(answer), file.cached.get()));
  if (file.direct) TRY(worker_.send("direct", "{}", file.direct.get()));
  return {};
}

Status FileDesk::user(const std::string& body) {
  const control::Json json = TRY(control::parse_object(body, "request of the worker"));
  const std::string path = TRY(path_of(json));
  TRY(authority_->may_open(path, false));
  return worker_.send("user", control::to_line(control::Json{{"message", describe_user(path)}}));
}

}  // namespace ploop::daemon
