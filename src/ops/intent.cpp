#include "ops/intent.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"
#include "base/paths.hpp"
#include "base/uuid.hpp"
#include "control/json.hpp"
#include "descriptor/model.hpp"

namespace ploop::ops {
namespace {

using control::Json;

constexpr std::string_view kName = ".ploop-intent";
constexpr std::size_t kMaxBytes = 1u << 20;
constexpr std::size_t kMaxFiles = 4096;
constexpr std::uint64_t kFormat = 1;

/// FNV-1a: against damage, not against people.
std::string checksum(std::string_view text) {
  std::uint64_t sum = 0xcbf29ce484222325u;
  for (const char c : text)
    sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return fmt::format("{:016x}", sum);
}

/// A relative name without empty, "." or ".." components.
bool is_plain(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) return false;
  for (;;) {
    const std::string_view part = name.substr(0, name.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    if (part.size() == name.size()) return true;
    name.remove_prefix(part.size() + 1);
  }
}

tl::unexpected<Error> malformed(std::string_view why) {
  return fail(ExitCode::Protocol, std::string(why));
}

Json names_to_json(const std::vector<std::string>& names) {
  Json list = Json::array();
  for (const std::string& name : names)
    list.push_back(control::bytes_to_json(name));
  return list;
}

Result<std::vector<std::string>> names_from_json(const Json& object, const char* field) {
  const auto list = object.find(field);
  if (list == object.end() || !list->is_array() || list->size() > kMaxFiles)
    return malformed("a list of files is missing");
  std::vector<std::string> names;
  for (const Json& item : *list) {
    names.push_back(TRY(control::bytes_from_json(item, field)));
    if (!is_plain(names.back())) return malformed("it names a file outside of the directory");
  }
  return names;
}

Result<std::map<std::string, std::string>> parameters_from_json(const Json& object) {
  const auto list = object.find("parameters");
  if (list == object.end() || !list->is_object()) return malformed("its parameters are missing");
  std::map<std::string, std::string> parameters;
  for (const auto& item : list->items()) {
    parameters[item.key()] = TRY(control::bytes_from_json(item.value(), item.key()));
  }
  return parameters;
}

/// The object without its checksum.
Json to_json(const Intent& intent, std::string_view descriptor) {
  Json parameters = Json::object();
  for (const auto& [name, value] : intent.parameters)
    parameters[name] = control::bytes_to_json(value);
  return Json{{"format", kFormat},
              {"descriptor", control::bytes_to_json(descriptor)},
              {"op", intent.op},
              {"uuid", intent.uuid},
              {"phase", intent.phase},
              {"creates", names_to_json(intent.creates)},
              {"consumes", names_to_json(intent.consumes)},
              {"parameters", parameters}};
}

std::string sealed(Json object) {
  object.erase("checksum");
  object["checksum"] = checksum(control::to_line(object));
  return control::to_line(object) + "\n";
}

Status verify(Json& object, std::string_view descriptor) {
  const std::string stored = TRY(control::string_field(object, "checksum"));
  object.erase("checksum");
  if (stored != checksum(control::to_line(object))) return malformed("its checksum is wrong");
  if (TRY(control::unsigned_field(object, "format")) != kFormat) return malformed("a newer program wrote it");
  const auto owner = object.find("descriptor");
  if (owner == object.end()) return malformed("its descriptor is missing");
  const std::string name = TRY(control::bytes_from_json(*owner, "descriptor"));
  if (name != descriptor) return malformed("it belongs to " + name);
  return control::only_fields(
      object, {"format", "descriptor", "op", "uuid", "phase", "creates", "consumes", "parameters"},
      "the note");
}

}  // namespace

std::string intent_path(const std::string& descriptor_path) {
  const std::string directory = directory_of(descriptor_path);
  const std::string descriptor = base_name(descriptor_path);
  const std::string owner = descriptor == descriptor::kFileName ? "" : "." + descriptor;
  return (directory == "/" ? "" : directory) + "/" + owner + std::string(kName);
}

Result<std::string> intent_name(const std::string& descriptor_path, const std::string& file) {
  const std::string directory = directory_of(descriptor_path);
  const std::string prefix = directory == "/" ? "/" : directory + "/";
  if (file.starts_with(prefix) && is_plain(std::string_view(file).substr(prefix.size())))
    return file.substr(prefix.size());
  return fail(ExitCode::Descriptor,
              file + " is not below " + directory + ": this needs all files in one place");
}

std::string intent_file(const std::string& descriptor_path, const std::string& name) {
  const std::string directory = directory_of(descriptor_path);
  return (directory == "/" ? "" : directory) + "/" + name;
}

std::string encode_intent(const Intent& intent, std::string_view descriptor) {
  return sealed(to_json(intent, descriptor));
}

Result<std::string> seal_intent(std::string_view object) {
  return sealed(TRY(control::parse_object(object, "the note")));
}

Result<Intent> decode_intent(std::string_view text, std::string_view descriptor) {
  Json object = TRY(control::parse_object(text, "the note"));
  TRY(verify(object, descriptor));
  Intent intent;
  intent.op = TRY(control::string_field(object, "op"));
  intent.uuid = TRY(control::string_field(object, "uuid"));
  if (!intent.uuid.empty() && !is_uuid(intent.uuid)) return malformed("its uuid is none");
  intent.phase = TRY(control::string_field(object, "phase"));
  intent.creates = TRY(names_from_json(object, "creates"));
  intent.consumes = TRY(names_from_json(object, "consumes"));
  intent.parameters = TRY(parameters_from_json(object));
  return intent;
}

Status write_intent(const std::string& descriptor_path, const Intent& intent) {
  Status written = write_file_atomic(intent_path(descriptor_path),
                                     encode_intent(intent, base_name(descriptor_path)), 0600);
  if (written || (written.error().sys_errno != ENOSPC && written.error().sys_errno != EDQUOT)) return written;
  Error error = std::move(written).error();
  error.what =
      "The host file system has no room in " + directory_of(descriptor_path) +
      " for a note of what is to be done, nor for what follows: nothing was changed, make some room first";
  return fail(std::move(error));
}

Status remove_intent(const std::string& descriptor_path) {
  const std::string path = intent_path(descriptor_path);
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return fail_errno(ExitCode::Unlink, "remove " + path);
  }
  return sync_parent_directory(path);
}

Result<std::optional<Intent>> read_intent(const std::string& descriptor_path) {
  const std::string path = intent_path(descriptor_path);
  const Fd fd{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!fd && errno == ENOENT) return std::nullopt;
  const auto refuse = [&](const std::string& why) {
    return fail(ExitCode::Busy, "An operation on this disk was interrupted, and its note " + path +
                                    " can't be used: " + why +
                                    ". Nothing was changed; if no other ploop can finish it, check the "
                                    "images and remove the note");
  };
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return refuse(errno_error(ExitCode::Busy, "open").message());
  if (!S_ISREG(info.st_mode)) return refuse("it is no regular file");
  const auto text = read_all(fd.get(), kMaxBytes, path);
  if (!text) return refuse(text.error().message());
  auto intent = decode_intent(*text, base_name(descriptor_path));
  if (!intent) return refuse(intent.error().what);
  return std::optional<Intent>(*std::move(intent));
}

}  // namespace ploop::ops
