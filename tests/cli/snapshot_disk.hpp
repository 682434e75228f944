// A stopped disk for the tests of snapshots: commands by short names, and a model of what every node must
// contain.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "descriptor/store.hpp"
#include "ploop.hpp"
#include "support/disk_content.hpp"

namespace ploop::test {

inline const std::string kTopNode = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";

/// "A" -> {aaaaaaaa-...}; TOP is the top, X nobody.
inline std::string node(const std::string& name) {
  if (name == "TOP") return kTopNode;
  const std::string h(1, static_cast<char>(name.front() - 'A' + 'a'));
  const std::string digits = name == "X" ? "9" : h;
  std::string uuid = "{";
  for (const int n : {8, 4, 4, 4, 12}) {
    for (int i = 0; i < n; ++i)
      uuid += digits;
    if (n != 12 || uuid.size() < 20) uuid += '-';
  }
  if (uuid.back() == '-') uuid.pop_back();
  return uuid + "}";
}

class SnapshotDisk {
 public:
  explicit SnapshotDisk(const std::vector<std::string>& options = {"-s", "100m", "-t", "none"}) {
    std::vector<std::string> args{"init"};
    args.insert(args.end(), options.begin(), options.end());
    args.emplace_back("root.hdd");
    EXPECT_EQ(box_.ploop(args).status, 0);
    names_["root.hdd"] = "r";
    if (std::ranges::count(options, "raw") == 0) write();
  }

  [[nodiscard]] const Sandbox& box() const { return box_; }
  [[nodiscard]] std::string xml() const { return box_ / "DiskDescriptor.xml"; }
  [[nodiscard]] descriptor::Disk disk() const {
    auto loaded = descriptor::load(xml());
    if (!loaded) throw std::runtime_error(loaded.error().message());
    return *loaded;
  }
  [[nodiscard]] std::string top_file() const { return disk().find_image(kTopNode)->file; }

  /// "snapshot A", "switch A", "delete A", "merge -u B", "merge -A -n n": runs it and keeps the model.
  ProcessResult command(const std::string& line, const ProcessOptions& options = {}) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    std::vector<std::string> args{verb == "snapshot" ? verb : "snapshot-" + verb};
    if (verb != "merge") args.emplace_back("-u");
    for (std::string word; words >> word;)
      args.push_back(is_name(word) ? node(word) : word);
    args.emplace_back("DiskDescriptor.xml");
    last_ = {verb, args.size() > 2 ? args[2] : "", disk().find_shot(kTopNode)->parent};
    ProcessResult result = box_.ploop(args, options);
    note_new_files();
    if (result.status == 0) settle();
    return result;
  }
  /// The last command was carried out, although it did not say so (killed, or done before).
  void settle() {
    const auto& [verb, uuid, parent_of_top] = last_;
    if (verb == "snapshot") model_[uuid] = model_[kTopNode];
    if (verb == "switch") model_[kTopNode] = model_[uuid];
    if (verb == "delete" && same_uuid(uuid, kTopNode)) model_[kTopNode] = model_[parent_of_top];
    const descriptor::Disk now = disk();
    std::erase_if(model_, [&](const auto& item) { return now.find_shot(item.first) == nullptr; });
  }

  /// Other bytes, or zeros, in three clusters of the top, one of them always the same.
  void write() {
    ++generation_;
    for (const std::uint64_t guest : {std::uint64_t{0}, 1 + generation_ % 7, 90 + generation_ % 9}) {
      // Zeros now and then: they hide what is below.
      const auto value = static_cast<std::uint8_t>((generation_ * 3 + guest) % 17);
      put_cluster(top_file(), guest, value);
      if (value == 0) {
        model_[kTopNode].erase(guest);
      } else {
        model_[kTopNode][guest] = value;
      }
    }
  }

  /// Every node of the descriptor contains what the model says.
  void verify(const std::string& when) const {
    const descriptor::Disk now = disk();
    for (const descriptor::Shot& shot : now.shots) {
      const auto expected = model_.find(shot.uuid);
      ASSERT_NE(expected, model_.end()) << when << ": " << shot.uuid;
      EXPECT_EQ(content_of(now, shot.uuid), expected->second) << when << ": " << shot.uuid;
    }
    for (const char* leftover : {".ploop-intent", "DiskDescriptor.xml.tmp"})
      EXPECT_FALSE(exists(box_ / leftover)) << when;
  }

  /// "A:r B:d1 TOP:d2", the path to the top; a star for temporary nodes.
  [[nodiscard]] std::string chain() const {
    const descriptor::Disk now = disk();
    std::string text;
    for (const descriptor::Shot* shot = now.find_shot(kTopNode); shot != nullptr;
         shot = now.find_shot(shot->parent)) {
      const std::string file =
          names_.at(now.find_image(shot->uuid)->file.substr(box_.dir().path().size() + 1));
      text =
          name_of(shot->uuid) + ":" + file + (shot->temporary ? "*" : "") + (text.empty() ? "" : " ") + text;
    }
    return text;
  }

  /// "r d1 d2": the images in the directory, by the order in which they were made.
  [[nodiscard]] std::string files() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(box_.dir().path())) {
      const auto known = names_.find(entry.path().filename());
      if (known != names_.end()) found.push_back(known->second);
    }
    std::ranges::sort(found, [](const std::string& a, const std::string& b) {
      return a == "r" || (b != "r" && std::pair(a.size(), a) < std::pair(b.size(), b));
    });
    std::string text;
    for (const std::string& name : found)
      text += (text.empty() ? "" : " ") + name;
    return text;
  }

  /// What a failed command must leave as it is.
  [[nodiscard]] std::string state() const { return slurp(xml()) + files(); }

 private:
  static bool is_name(const std::string& word) {
    return word == "TOP" || (word.size() == 1 && word.front() >= 'A' && word.front() <= 'X');
  }
  static std::string name_of(const std::string& uuid) {
    for (const char* name : {"TOP", "A", "B", "C", "D", "E", "F"}) {
      if (same_uuid(node(name), uuid)) return name;
    }
    return uuid;
  }
  void note_new_files() {
    for (const auto& entry : std::filesystem::directory_iterator(box_.dir().path())) {
      const std::string name = entry.path().filename();
      if (names_.contains(name)) continue;
      if (name.starts_with("root.hdd.{")) names_[name] = "d" + std::to_string(++deltas_);
      if (name == "n") names_[name] = "n";
    }
  }
  Sandbox box_;
  std::map<std::string, std::string> names_;
  std::map<std::string, Content> model_;
  struct Command {
    std::string verb;
    std::string uuid;
    std::string parent_of_top;
  };
  Command last_;
  std::uint64_t generation_ = 0;
  int deltas_ = 0;
};

}  // namespace ploop::test
