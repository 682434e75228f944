#include <fmt/format.h>

#include "descriptor/kept.hpp"
#include "descriptor/xml.hpp"

namespace ploop::descriptor {
namespace {

/// Appends elements at the current level of nesting.
class Writer {
 public:
  void begin(std::string_view name, std::string_view attributes = {}) {
    indent();
    out_ += fmt::format("<{}{}>\n", name, attributes);
    ++level_;
  }
  void end(std::string_view name) {
    --level_;
    indent();
    out_ += fmt::format("</{}>\n", name);
  }
  void leaf(std::string_view name, std::string_view text) {
    indent();
    out_ += fmt::format("<{0}>{1}</{0}>\n", name, escape_xml(text));
  }
  void leaf(std::string_view name, std::uint64_t number) { leaf(name, std::to_string(number)); }
  void empty(std::string_view name) {
    indent();
    out_ += fmt::format("<{}/>\n", name);
  }
  void kept(std::string_view elements) {
    if (!elements.empty()) append_indented(out_, elements, level_);
  }
  std::string take() { return std::move(out_); }

 private:
  void indent() { out_.append(static_cast<std::size_t>(level_) * 2, ' '); }
  std::string out_ = "<?xml version=\"1.0\"?>\n";
  int level_ = 0;
};

std::string_view stored_name(const Disk& disk, std::string_view file) {
  const std::string prefix = disk.directory == "/" ? "/" : disk.directory + "/";
  if (file.starts_with(prefix) && file.size() > prefix.size() && file[prefix.size()] != '/') {
    file.remove_prefix(prefix.size());
  }
  return file;
}

void write_parameters(Writer& w, const Disk& disk) {
  w.begin("Disk_Parameters");
  w.leaf("Disk_size", disk.size_sectors);
  if (disk.max_delta_sectors != 0) w.leaf("Max_delta_size", disk.max_delta_sectors);
  w.leaf("Cylinders", disk.cylinders);
  w.leaf("Heads", disk.heads);
  w.leaf("Sectors", disk.sectors_per_track());
  w.leaf("Padding", std::uint64_t{0});
  w.kept(disk.kept.disk_parameters);
  w.end("Disk_Parameters");
}

void write_storage(Writer& w, const Disk& disk) {
  w.begin("StorageData");
  w.kept(disk.kept.storage_data);
  w.begin("Storage");
  w.leaf("Start", std::uint64_t{0});
  w.leaf("End", disk.size_sectors);
  w.leaf("Blocksize", disk.cluster_sectors);
  if (disk.mode == Mode::Preallocated) w.leaf("Preallocated", std::uint64_t{1});
  w.kept(disk.kept.storage);
  for (const Image& image : disk.images) {
    w.begin("Image");
    w.leaf("GUID", image.uuid);
    w.leaf("Type", disk.mode == Mode::Raw ? "Plain" : "Compressed");
    w.leaf("File", stored_name(disk, image.file));
    w.kept(image.kept);
    w.end("Image");
  }
  w.end("Storage");
  w.end("StorageData");
}

void write_snapshots(Writer& w, const Disk& disk) {
  w.begin("Snapshots");
  w.leaf("TopGUID", disk.top_uuid);
  w.kept(disk.kept.snapshots);
  for (const Shot& shot : disk.shots) {
    w.begin("Shot");
    w.leaf("GUID", shot.uuid);
    w.leaf("ParentGUID", shot.parent);
    if (shot.temporary) w.empty("Temporary");
    w.kept(shot.kept);
    w.end("Shot");
  }
  w.end("Snapshots");
}

}  // namespace

std::string serialize(const Disk& disk) {
  Writer w;
  w.begin(disk.kept.root_name, disk.kept.root_attributes);
  write_parameters(w, disk);
  write_storage(w, disk);
  write_snapshots(w, disk);
  w.kept(disk.kept.root);
  w.end(disk.kept.root_name);
  return w.take();
}

}  // namespace ploop::descriptor
