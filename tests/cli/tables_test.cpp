// Tables that programs and people rely on: exit codes as documented, the text of snapshot-list.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "base/text.hpp"
#include "cli/commands.hpp"
#include "support/temp_dir.hpp"

namespace ploop::cli {
namespace {

/// "| 38 | SYSEXIT_PARAM | ..." of the compatibility table.
std::map<int, std::string> documented_codes() {
  std::istringstream text(test::slurp(std::string(PLOOP_SOURCE_DIR) + "/docs/compatibility.md"));
  std::map<int, std::string> codes;
  for (std::string line; std::getline(text, line);) {
    std::istringstream cells(line);
    std::string empty, number, name;
    std::getline(cells, empty, '|');
    std::getline(cells, number, '|');
    std::getline(cells, name, '|');
    const auto value = parse_c_integer(std::string(trim(number)));
    if (line.starts_with("| ") && value) codes[static_cast<int>(*value)] = std::string(trim(name));
  }
  return codes;
}

TEST(ExitCodes, AreTheDocumentedOnes) {
  const auto documented = documented_codes();
  ASSERT_EQ(documented.size(), 47u) << "0 to 46, each with its row";
  for (const auto& [number, name] : documented) {
    const std::string_view ours = exit_code_name(static_cast<ExitCode>(number));
    if (number == 0) {
      EXPECT_EQ(name, "-");
    } else if (ours.empty()) {
      EXPECT_EQ(name, "reserved") << number;
    } else {
      EXPECT_EQ(name, ours) << number;
    }
  }
}

/// The numbers scripts compare, written out again on purpose.
TEST(ExitCodes, KeepTheirNumbers) {
  const std::map<ExitCode, int> fixed = {
      {ExitCode::Create, 1},      {ExitCode::Device, 2},      {ExitCode::DeviceIoctl, 3},
      {ExitCode::Open, 4},        {ExitCode::Read, 6},        {ExitCode::Write, 7},
      {ExitCode::Format, 11},     {ExitCode::System, 12},     {ExitCode::Mount, 21},
      {ExitCode::Umount, 22},     {ExitCode::Lock, 23},       {ExitCode::Mkfs, 24},
      {ExitCode::InUse, 37},      {ExitCode::Param, 38},      {ExitCode::Descriptor, 39},
      {ExitCode::NotMounted, 40}, {ExitCode::Fsck, 41},       {ExitCode::NoSnapshot, 43},
      {ExitCode::Crypt, 45},      {ExitCode::UmountBusy, 46},
  };
  for (const auto& [code, number] : fixed)
    EXPECT_EQ(static_cast<int>(code), number);
}

const std::string kBase = "{00000000-0000-0000-0000-000000000000}";
const std::string kSnap = "{11111111-1111-1111-1111-111111111111}";
const std::string kTop = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";

std::vector<ops::SnapshotRow> two_rows() {
  return {{kBase, kSnap, "/vz/ct/root.hdd", false, false},
          {kSnap, kTop, "/vz/ct/root.hdd.{fa187d3a}", true, false}};
}

TEST(SnapshotListText, DefaultColumnsByteForByte) {
  SnapshotListArguments args;
  args.fields = parse_snapshot_list({"x.xml"})->fields;
  EXPECT_EQ(format_snapshot_rows(two_rows(), args),
            "PARENT_UUID                            C UUID                                   FNAME           "
            "                 \n" +
                kBase + "   " + kSnap + " /vz/ct/root.hdd\n" + kSnap + " * " + kTop +
                " /vz/ct/root.hdd.{fa187d3a}\n");
}

TEST(SnapshotListText, OneColumnIsBare) {
  const auto args = parse_snapshot_list({"-H", "-o", "uuid", "x.xml"});
  EXPECT_EQ(format_snapshot_rows(two_rows(), *args), kSnap + "\n" + kTop + "\n");
}

TEST(SnapshotListText, CurrentAndNameAreOneBlankApart) {
  const auto args = parse_snapshot_list({"-H", "-o", "current,fname", "x.xml"});
  EXPECT_EQ(format_snapshot_rows(two_rows(), *args), "  /vz/ct/root.hdd\n* /vz/ct/root.hdd.{fa187d3a}\n");
}

}  // namespace
}  // namespace ploop::cli
