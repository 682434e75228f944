#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <pugixml.hpp>

#include "base/text.hpp"
#include "descriptor/kept.hpp"
#include "descriptor/scan.hpp"
#include "descriptor/xml.hpp"

namespace ploop::descriptor {
namespace {

constexpr std::size_t kMaxName = 4095;

tl::unexpected<Error> refuse(std::string what) {
  return fail(ExitCode::Lock, std::move(what));
}

/// Text of the document as it may appear in a message.
std::string quoted(std::string_view text) {
  std::string out(text.substr(0, 80));
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return "'" + out + "'";
}

class LimitWalker : public pugi::xml_tree_walker {
 public:
  bool for_each(pugi::xml_node&) override { return ++nodes_ <= kMaxNodes && depth() < kMaxDepth; }

 private:
  std::size_t nodes_ = 0;
};

/// The children of one element: those we know by name, at most once each, and the text of all others.
class Children {
 public:
  static Result<Children> read(const pugi::xml_node& parent, std::initializer_list<std::string_view> known,
                               std::string_view until = {}) {
    Children result;
    for (const pugi::xml_node& child : parent) {
      if (child.type() != pugi::node_element) continue;
      const std::string_view name = child.name();
      if (!until.empty() && name == until) {
        result.rest_ = child;
        break;
      }
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        append_compact(result.kept, child);
        continue;
      }
      if (result.find(name)) return refuse(fmt::format("two elements {} in {}", name, quoted(parent.name())));
      result.found_.push_back(child);
    }
    return result;
  }

  [[nodiscard]] pugi::xml_node find(std::string_view name) const {
    const auto it =
        std::find_if(found_.begin(), found_.end(), [&](const pugi::xml_node& n) { return name == n.name(); });
    return it == found_.end() ? pugi::xml_node{} : *it;
  }
  /// The first child called `until`; it and all elements behind it are a list.
  [[nodiscard]] pugi::xml_node rest() const { return rest_; }

  std::string kept;

 private:
  std::vector<pugi::xml_node> found_;
  pugi::xml_node rest_;
};

Result<std::string> text_of(const pugi::xml_node& leaf) {
  std::string text;
  for (const pugi::xml_node& child : leaf) {
    if (child.type() == pugi::node_element) return refuse(fmt::format("an element inside {}", leaf.name()));
    text += child.value();
  }
  return text;
}

/// 0 when the element is absent.
Result<std::uint64_t> number_of(const Children& children, std::string_view name, std::uint64_t limit) {
  const pugi::xml_node node = children.find(name);
  if (!node) return std::uint64_t{0};
  const std::string text = TRY(text_of(node));
  const auto value = parse_c_integer(trim(text));
  if (!value) return refuse(fmt::format("{} is no number: {}", name, quoted(text)));
  if (*value > limit) return refuse(fmt::format("{} is too large: {}", name, *value));
  return *value;
}

Result<std::string> uuid_of(const Children& children, std::string_view name, std::string_view where) {
  const pugi::xml_node node = children.find(name);
  if (!node) return refuse(fmt::format("no {} in {}", name, where));
  const std::string text = TRY(text_of(node));
  if (!is_uuid(trim(text))) return refuse(fmt::format("Incorrect uuid specified: {}", quoted(text)));
  return std::string(trim(text));
}

/// Encryption of a disk by Parallels Desktop concerns every byte; a bare KeyId only the file system inside.
Result<std::string> read_encryption(const pugi::xml_node& parameters) {
  std::string key_id;
  for (const pugi::xml_node& node : parameters.children("Encryption")) {
    const Children children = TRY(Children::read(node, {"Engine", "KeyId"}));
    if (const pugi::xml_node engine = children.find("Engine"); engine) {
      const std::string text = TRY(text_of(engine));
      if (!trim(text).empty() && !same_uuid(trim(text), kNoUuid)) return refuse("the disk is encrypted");
    }
    if (const pugi::xml_node key = children.find("KeyId"); key) key_id = TRY(text_of(key));
  }
  return key_id;
}

Status read_parameters(const pugi::xml_node& node, Disk& disk) {
  constexpr std::uint64_t kMax32 = std::numeric_limits<std::uint32_t>::max();
  Children children =
      TRY(Children::read(node, {"Disk_size", "Max_delta_size", "Cylinders", "Heads", "Sectors", "Padding"}));
  disk.size_sectors = TRY(number_of(children, "Disk_size", kSizeLimitSectors - 1));
  disk.max_delta_sectors = TRY(number_of(children, "Max_delta_size", kSizeLimitSectors - 1));
  disk.cylinders = static_cast<std::uint32_t>(TRY(number_of(children, "Cylinders", kMax32)));
  disk.heads = static_cast<std::uint32_t>(TRY(number_of(children, "Heads", kMax32)));
  if (TRY(number_of(children, "Padding", kMax32)) != 0) return refuse("padded disks are not supported");
  disk.key_id = TRY(read_encryption(node));
  disk.kept.disk_parameters = std::move(children.kept);
  return {};
}

Result<std::string> file_of(const Children& children, const std::string& directory) {
  const pugi::xml_node node = children.find("File");
  if (!node) return refuse("no File in Image");
  const std::string name = TRY(text_of(node));
  if (name.empty() || name.size() > kMaxName) return refuse("an image name is empty or too long");
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return refuse("an image name contains control characters: " + quoted(name));
  }
  if (name.front() == '/') return name;
  return (directory == "/" ? "" : directory) + "/" + name;
}

Status read_image(const pugi::xml_node& node, Disk& disk) {
  Children children = TRY(Children::read(node, {"GUID", "Type", "File"}));
  Image image;
  image.uuid = TRY(uuid_of(children, "GUID", "Image"));
  image.file = TRY(file_of(children, disk.directory));
  image.kept = std::move(children.kept);
  if (const pugi::xml_node type = children.find("Type"); type && TRY(text_of(type)) == "Plain")
    disk.mode = Mode::Raw;
  disk.images.push_back(std::move(image));
  return {};
}

Status read_storage(const pugi::xml_node& node, Disk& disk) {
  Children children = TRY(Children::read(node, {"Start", "End", "Blocksize", "Preallocated"}, "Image"));
  disk.cluster_sectors = static_cast<std::uint32_t>(
      TRY(number_of(children, "Blocksize", std::numeric_limits<std::uint32_t>::max())));
  const bool preallocated = TRY(number_of(children, "Preallocated", 1)) == 1;
  // From the first Image on every element is one, whatever its name: that is how the format is read.
  for (pugi::xml_node image = children.rest(); image; image = image.next_sibling()) {
    if (image.type() == pugi::node_element) TRY(read_image(image, disk));
  }
  if (preallocated && disk.mode == Mode::Raw) return refuse("Preallocated together with a raw image");
  if (preallocated) disk.mode = Mode::Preallocated;
  disk.kept.storage = std::move(children.kept);
  return {};
}

Status read_storage_data(const pugi::xml_node& node, Disk& disk) {
  if (node.child("Volume")) return refuse("volumes are not supported");
  Children children = TRY(Children::read(node, {}, "Storage"));
  if (!children.rest()) return refuse("no Storage in StorageData");
  for (pugi::xml_node next = children.rest().next_sibling(); next; next = next.next_sibling()) {
    if (next.type() == pugi::node_element) return refuse("split disks are not supported");
  }
  disk.kept.storage_data = std::move(children.kept);
  return read_storage(children.rest(), disk);
}

Status read_shot(const pugi::xml_node& node, Disk& disk) {
  if (node.child("TemporaryZero") || node.child("TemporaryZeroSwap")) {
    return refuse("an unfinished merge of a later ploop release has to be completed there first");
  }
  Children children = TRY(Children::read(node, {"GUID", "ParentGUID", "Temporary"}));
  Shot shot;
  shot.uuid = TRY(uuid_of(children, "GUID", "Shot"));
  shot.parent = TRY(uuid_of(children, "ParentGUID", "Shot"));
  shot.temporary = static_cast<bool>(children.find("Temporary"));
  shot.kept = std::move(children.kept);
  disk.shots.push_back(std::move(shot));
  return {};
}

Status read_snapshots(const pugi::xml_node& node, Disk& disk) {
  Children children = TRY(Children::read(node, {"TopGUID"}, "Shot"));
  if (children.find("TopGUID")) disk.top_uuid = TRY(uuid_of(children, "TopGUID", "Snapshots"));
  for (pugi::xml_node shot = children.rest(); shot; shot = shot.next_sibling()) {
    if (shot.type() == pugi::node_element) TRY(read_shot(shot, disk));
  }
  disk.kept.snapshots = std::move(children.kept);
  return {};
}

/// What older and foreign programs leave out.
void add_implied(Disk& disk) {
  if (disk.shots.size() < disk.images.size()) {
    disk.shots.push_back({std::string(kTopUuid), std::string(kNoUuid), false, {}});
  }
  if (disk.top_uuid.empty() && disk.find_shot(kTopUuid) != nullptr) disk.top_uuid = kTopUuid;
}

Result<pugi::xml_node> only_root(const pugi::xml_document& document) {
  pugi::xml_node root;
  for (const pugi::xml_node& node : document) {
    if (node.type() != pugi::node_element) return refuse("text outside of the root element");
    if (root) return refuse("two root elements");
    root = node;
  }
  if (!root) return refuse("no root element");
  return root;
}

}  // namespace

Result<Disk> parse(std::string_view xml, const std::string& directory) {
  const Encoding encoding = TRY(scan_document(xml));
  pugi::xml_document document;
  const pugi::xml_parse_result parsed =
      document.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_fragment,
                           encoding == Encoding::Latin1 ? pugi::encoding_latin1 : pugi::encoding_utf8);
  if (!parsed) return refuse(fmt::format("{} at byte {}", parsed.description(), parsed.offset));
  LimitWalker limits;
  if (!document.traverse(limits)) return refuse("too many or too deeply nested elements");

  const pugi::xml_node root = TRY(only_root(document));
  Children children = TRY(Children::read(root, {"Disk_Parameters", "StorageData", "Snapshots"}));
  for (const char* required : {"Disk_Parameters", "StorageData", "Snapshots"}) {
    if (!children.find(required)) return refuse(fmt::format("no {}", required));
  }
  Disk disk;
  disk.directory = directory;
  disk.kept.root_name = root.name();
  append_attributes(disk.kept.root_attributes, root);
  disk.kept.root = std::move(children.kept);
  TRY(read_parameters(children.find("Disk_Parameters"), disk));
  TRY(read_storage_data(children.find("StorageData"), disk));
  TRY(read_snapshots(children.find("Snapshots"), disk));
  add_implied(disk);
  TRY(validate(disk));
  return disk;
}

}  // namespace ploop::descriptor
