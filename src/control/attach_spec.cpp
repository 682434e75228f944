#include "control/attach_spec.hpp"

#include "control/json.hpp"

namespace ploop::control {
namespace {

constexpr std::string_view kWait = "wait";
constexpr std::string_view kFail = "fail";
constexpr std::string_view kWhat = "attach order";
constexpr const char* kFiles = "files";

Status check_limits(const AttachSpec& spec) {
  const auto refuse = [](std::string why) { return fail(ExitCode::Param, std::move(why)); };
  if (spec.deltas.empty()) return refuse("A device needs at least one image");
  if (spec.deltas.size() > kMaxDeltas)
    return refuse("Too many images: at most " + std::to_string(kMaxDeltas));
  if (spec.device_number < -1 || spec.device_number > kMaxDeviceNumber)
    return refuse("Device number out of range");
  if (spec.component.size() > kMaxComponentLength) return refuse("Component name too long");
  for (std::size_t level = 0; level < spec.deltas.size(); ++level) {
    const DeltaSpec& delta = spec.deltas[level];
    const bool top = level + 1 == spec.deltas.size();
    if (delta.path.empty() || delta.path.front() != '/')
      return refuse("Image path is not absolute: " + delta.path);
    if (delta.kind == ImageKind::Raw && level != 0)
      return refuse("Only the base may be a raw image: " + delta.path);
    const bool written = !spec.read_only && (top || (spec.merging && level + 2 == spec.deltas.size()));
    if (delta.read_only == written) return refuse("Only the top of a writable device is written");
  }
  return {};
}

Json delta_to_json(const DeltaSpec& delta) {
  return Json{{"path", bytes_to_json(delta.path)},
              {"kind", std::string(image_kind_name(delta.kind))},
              {"read_only", delta.read_only}};
}

}  // namespace

std::string_view image_kind_name(ImageKind kind) {
  return kind == ImageKind::Raw ? "raw" : "ploop1";
}

Result<ImageKind> parse_image_kind(std::string_view name) {
  if (name == "raw") return ImageKind::Raw;
  if (name == "ploop1") return ImageKind::Ploop1;
  return fail(ExitCode::Protocol, "Unknown image kind " + std::string(name));
}

std::string_view on_enospc_name(OnEnospc what) {
  return what == OnEnospc::Fail ? kFail : kWait;
}

Result<OnEnospc> parse_on_enospc(std::string_view name) {
  if (name == kFail) return OnEnospc::Fail;
  if (name == kWait) return OnEnospc::Wait;
  return fail(ExitCode::Protocol, "\"on_enospc\" is neither wait nor fail");
}

Json deltas_to_json(const std::vector<DeltaSpec>& deltas) {
  Json list = Json::array();
  for (const DeltaSpec& delta : deltas)
    list.push_back(delta_to_json(delta));
  return list;
}

Result<std::vector<DeltaSpec>> deltas_from_json(const Json& object) {
  const auto list = object.find("deltas");
  if (list == object.end() || !list->is_array())
    return fail(ExitCode::Protocol, "\"deltas\" is missing or not a list");
  if (list->size() > kMaxDeltas) return fail(ExitCode::Param, "Too many images");
  std::vector<DeltaSpec> deltas;
  for (const Json& item : *list) {
    if (!item.is_object() || !item.contains("path"))
      return fail(ExitCode::Protocol, "\"deltas\" holds something else");
    TRY(only_fields(item, {"path", "kind", "read_only"}, "delta"));
    DeltaSpec delta;
    delta.path = TRY(bytes_from_json(item["path"], "path"));
    const std::string kind = TRY(string_field(item, "kind"));
    delta.kind = TRY(parse_image_kind(kind));
    delta.read_only = TRY(bool_field(item, "read_only"));
    deltas.push_back(std::move(delta));
  }
  return deltas;
}

Json file_to_json(const FileId& file) {
  return Json::array({file.device, file.inode});
}

Result<FileId> file_from_json(const Json& value) {
  if (!value.is_array() || value.size() != 2 || !value[0].is_number_unsigned() ||
      !value[1].is_number_unsigned()) {
    return fail(ExitCode::Protocol, "a file is a device number and an inode number");
  }
  return FileId{value[0].get<std::uint64_t>(), value[1].get<std::uint64_t>()};
}

void add_files(Json& object, const std::vector<DeltaSpec>& deltas) {
  if (deltas.empty()) return;
  Json files = Json::array();
  for (const DeltaSpec& delta : deltas) {
    if (!delta.file) return;
    files.push_back(file_to_json(*delta.file));
  }
  object[kFiles] = std::move(files);
}

Status read_files(const Json& object, std::vector<DeltaSpec>& deltas) {
  const auto files = object.find(kFiles);
  if (files == object.end()) return {};
  if (!files->is_array() || files->size() != deltas.size())
    return fail(ExitCode::Protocol, "\"files\" does not fit the images");
  for (std::size_t i = 0; i < deltas.size(); ++i)
    deltas[i].file = TRY(file_from_json((*files)[i]));
  return {};
}

std::string encode_attach_spec(const AttachSpec& spec) {
  Json json{{"device_number", spec.device_number},
            {"deltas", deltas_to_json(spec.deltas)},
            {"raw_cluster_sectors", spec.raw_cluster_sectors},
            {"read_only", spec.read_only},
            {"merging", spec.merging},
            {"component", spec.component},
            {"descriptor", bytes_to_json(spec.descriptor)},
            {"transport", spec.transport},
            {"on_enospc", on_enospc_name(spec.on_enospc)}};
  // Said only when it is wanted: a daemon that does not know it is right to refuse then.
  if (spec.require_sandbox) json["require_sandbox"] = true;
  return to_line(json);
}

Result<AttachSpec> decode_attach_spec(std::string_view text) {
  const Json json = TRY(parse_object(text, kWhat));
  TRY(only_fields(json,
                  {"device_number", "deltas", "raw_cluster_sectors", "read_only", "merging", "component",
                   "descriptor", "transport", "on_enospc", "require_sandbox"},
                  kWhat));
  AttachSpec spec;
  spec.device_number = TRY(number_field<int>(json, "device_number"));
  spec.deltas = TRY(deltas_from_json(json));
  spec.raw_cluster_sectors = TRY(number_field<std::uint32_t>(json, "raw_cluster_sectors"));
  spec.read_only = TRY(bool_field(json, "read_only"));
  spec.merging = TRY(bool_field(json, "merging"));
  spec.component = TRY(string_field(json, "component"));
  if (!json.contains("descriptor")) return fail(ExitCode::Protocol, "\"descriptor\" is missing");
  spec.descriptor = TRY(bytes_from_json(json["descriptor"], "descriptor"));
  spec.transport = TRY(string_field(json, "transport"));
  const std::string on_enospc = TRY(string_field(json, "on_enospc"));
  spec.on_enospc = TRY(parse_on_enospc(on_enospc));
  if (json.contains("require_sandbox")) spec.require_sandbox = TRY(bool_field(json, "require_sandbox"));
  TRY(check_limits(spec));
  return spec;
}

std::string encode_files(const std::vector<DeltaSpec>& deltas) {
  Json object = Json::object();
  add_files(object, deltas);
  return to_line(object);
}

Status decode_files(std::string_view text, std::vector<DeltaSpec>& deltas) {
  const Json object = TRY(parse_object(text, "list of files"));
  return read_files(object, deltas);
}

}  // namespace ploop::control
