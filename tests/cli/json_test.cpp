// --json: exactly one object on stdout, with the fields that docs/json.md names.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "ploop.hpp"
#include "support/image_builder.hpp"

namespace ploop::test {
namespace {

using Json = nlohmann::json;

Json parsed(const ProcessResult& result) {
  const Json value = Json::parse(result.out, nullptr, false);
  EXPECT_TRUE(value.is_object()) << result.out << result.err;
  return value.is_object() ? value : Json::object();
}

std::string documentation() {
  return slurp(std::string(PLOOP_SOURCE_DIR) + "/docs/json.md");
}

/// Every name in the answer stands in the documentation.
void expect_documented(const Json& value) {
  static const std::string text = documentation();
  if (value.is_array()) {
    for (const Json& item : value)
      expect_documented(item);
  }
  if (!value.is_object()) return;
  for (const auto& [name, item] : value.items()) {
    const bool known = text.find("`" + name + "`") != std::string::npos ||
                       text.find("." + name + "`") != std::string::npos ||
                       text.find("`{\"" + name + "\"") != std::string::npos ||
                       text.find(", \"" + name + "\"") != std::string::npos;
    EXPECT_TRUE(known) << name;
    expect_documented(item);
  }
}

TEST(Json, InfoAnswersInBytes) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s", "64m", "-t", "none", "-v", "1", "root.hdd"}).status, 0);
  const Json info = parsed(box.ploop({"info", "-s", "-d", "--json", "DiskDescriptor.xml"}));
  EXPECT_EQ(info, Json({{"size_bytes", 64 << 20},
                        {"cluster_bytes", 1 << 20},
                        {"format", "ploop1"},
                        {"format_version", 1},
                        {"device", nullptr},
                        {"partition", nullptr},
                        {"survives_crash", nullptr}}));
  expect_documented(info);
}

TEST(Json, RawHasNoVersion) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s", "1m", "-t", "none", "-f", "raw", "root.hdd"}).status, 0);
  const Json info = parsed(box.ploop({"info", "-s", "--json", "DiskDescriptor.xml"}));
  EXPECT_EQ(info["format"], "raw");
  EXPECT_TRUE(info["format_version"].is_null());
}

TEST(Json, AFailureAnswersNothing) {
  const Sandbox box;
  for (const auto& [args, status] : std::vector<std::pair<std::vector<std::string>, int>>{
           {{"info", "--json", "x.xml"}, 39},
           {{"check", "--json", "x.hdd"}, 4},
           {{"snapshot-list", "--json", "x.xml"}, 1},
           {{"snapshot-list", "--json", "-H", "x.xml"}, 1},
           {{"snapshot-list", "--json", "-o", "uuid", "x.xml"}, 1}}) {
    const ProcessResult result = box.ploop(args);
    EXPECT_EQ(result.status, status) << args.front();
    EXPECT_EQ(result.out, "") << args.front();
    EXPECT_NE(result.err, "") << args.front();
  }
}

TEST(Json, ListOfNothingIsAnEmptyList) {
  const Sandbox box;
  EXPECT_EQ(parsed(box.ploop({"list", "--json"})), Json({{"devices", Json::array()}}));
}

TEST(Json, SnapshotsHaveNullForNoParent) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s", "1m", "-t", "none", "root.hdd"}).status, 0);
  const Json nodes = parsed(box.ploop({"snapshot-list", "--json", "DiskDescriptor.xml"}));
  EXPECT_EQ(nodes["snapshots"], Json::array({{{"uuid", "{5fbaabe3-6958-40ff-92a7-860e329aab41}"},
                                              {"parent_uuid", nullptr},
                                              {"current", true},
                                              {"temporary", false},
                                              {"image", box / "root.hdd"}}}));
  EXPECT_EQ(parsed(box.ploop({"snapshot-list", "-s", "--json", "DiskDescriptor.xml"}))["snapshots"],
            Json::array());
  expect_documented(nodes);
}

TEST(Json, NamesThatAreNoTextAreHex) {
  const Sandbox box;
  const std::string odd = "\xff.hdd";
  ImageBuilder(20480, 64).write(box / odd);
  const Json answer = parsed(box.ploop({"check", "--json", odd}));
  std::string name = answer["images"][0]["image"]["hex"];
  EXPECT_TRUE(name.ends_with("ff2e686464")) << answer;
}

TEST(Json, CheckNamesEveryFindingAndItsStatusIsTheCommands) {
  const Sandbox box;
  ImageBuilder image(20480, 64);
  image.allocate(3).allocate(0);
  image.slots[5] = 0x1000;
  image.slots[7] = image.slots[3];
  image.header.in_use = format::kInUseMark;
  image.file_clusters += 2;
  image.write(box / "i.hdd");
  const ProcessResult result = box.ploop({"check", "-r", "-c", "--json", "i.hdd"});
  EXPECT_EQ(result.status, 11);
  const Json answer = parsed(result);
  EXPECT_EQ(answer["exit_status"], 11);
  expect_documented(answer);
  std::vector<std::string> kinds;
  for (const Json& finding : answer["images"][0]["findings"])
    kinds.push_back(finding["kind"]);
  EXPECT_EQ(kinds, (std::vector<std::string>{"slot_beyond_eof", "slot_used_twice", "tail", "fatal_errors"}));
  const Json& first = answer["images"][0]["findings"][0];
  EXPECT_EQ(first["guest_cluster"], 5);
  EXPECT_EQ(first["image_cluster"], 0x1000);
  EXPECT_EQ(first["verdict"], "fatal");
  EXPECT_EQ(first["message"], "Data cluster 4096 beyond EOF, vsec=320");
}

TEST(Json, CheckSaysWhatItRepaired) {
  const Sandbox box;
  ImageBuilder image(20480, 64);
  image.allocate(3);
  image.slots[5] = 0x1000;
  image.write(box / "i.hdd");
  const Json answer = parsed(box.ploop({"check", "-F", "--json", "i.hdd"}));
  EXPECT_EQ(answer["images"][0]["lost_clusters"], 1);
  EXPECT_EQ(answer["images"][0]["changed"], true);
  EXPECT_EQ(answer["images"][0]["findings"][0]["verdict"], "fixed");
}

}  // namespace
}  // namespace ploop::test
