// What holds for every command, and for the program around them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <regex>
#include <sstream>

#include "ploop.hpp"

namespace ploop::test {
namespace {

using testing::ValuesIn;

struct CommandCase {
  std::string name;
  int missing_operand;  ///< exit status without operands
};
void PrintTo(const CommandCase& c, std::ostream* out) {
  *out << c.name;
}

class EveryCommand : public testing::TestWithParam<CommandCase> {
 protected:
  Sandbox box_;
};

/// What the program itself says it can do, so that no command can be forgotten here.
std::vector<CommandCase> all_commands() {
  const std::map<std::string, int> without_operands{{"snapshot-list", 1}, {"list", 0}, {"getdev", 0}};
  std::vector<CommandCase> cases;
  std::istringstream lines(run({PLOOP_BINARY, "--help"}).out);
  for (std::string line; std::getline(lines, line);) {
    std::smatch name;
    if (!std::regex_match(line, name, std::regex("  ([a-z][a-z-]+) {2,}[a-z].*"))) continue;
    const auto known = without_operands.find(name[1]);
    cases.push_back({name[1], known == without_operands.end() ? 38 : known->second});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cli, EveryCommand, ValuesIn(all_commands()), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(EveryCommand, ExplainsItselfOnStdout) {
  for (const char* option : {"--help", "-h", "--hel"}) {
    const ProcessResult result = box_.ploop({GetParam().name, option});
    EXPECT_EQ(result.status, 0) << option;
    EXPECT_TRUE(result.out.starts_with(std::string("Usage: ploop ") + GetParam().name)) << result.out;
    EXPECT_NE(result.out.find("-h, --help"), std::string::npos);
    EXPECT_EQ(result.err, "");
  }
}

TEST_P(EveryCommand, RefusesAnUnknownOption) {
  const ProcessResult result = box_.ploop({GetParam().name, "-Z"});
  EXPECT_EQ(result.status, GetParam().missing_operand == 1 ? 1 : 38);
  EXPECT_TRUE(result.err.starts_with(std::string(GetParam().name) + ": invalid option -- 'Z'\nUsage: ploop "))
      << result.err;
  EXPECT_EQ(result.out, "");
}

TEST_P(EveryCommand, SaysOnStderrWhatIsMissing) {
  const ProcessResult result = box_.ploop({GetParam().name});
  EXPECT_EQ(result.status, GetParam().missing_operand);
  if (result.status != 0) {
    EXPECT_EQ(result.out, "");
    EXPECT_NE(result.err.find("Usage: ploop "), std::string::npos) << result.err;
  }
}

TEST_P(EveryCommand, IsSilentAtTheLowestVerbosity) {
  const ProcessResult result = box_.ploop({"-v-2", GetParam().name, "-Z"});
  EXPECT_EQ(result.out + result.err, "");
  EXPECT_NE(result.status, 0);
}

TEST(Program, NamesTheCommandsOfTheOriginal) {
  const std::string summary = run({PLOOP_BINARY, "--help"}).out;
  for (const char* name : {"init",
                           "mount",
                           "umount",
                           "start",
                           "stop",
                           "clear",
                           "delete",
                           "snapshot",
                           "tsnapshot",
                           "snapshot-switch",
                           "snapshot-delete",
                           "snapshot-merge",
                           "snapshot-list",
                           "getdev",
                           "convert",
                           "info",
                           "list",
                           "check",
                           "resize",
                           "grow",
                           "merge",
                           "stat",
                           "copy",
                           "replace",
                           "balloon",
                           "restore-descriptor"}) {
    EXPECT_NE(summary.find(std::string("\n  ") + name + " "), std::string::npos) << name;
  }
}

TEST(Program, WithoutCommandShowsUsageOnStderr) {
  const Sandbox box;
  const ProcessResult result = box.ploop({});
  EXPECT_EQ(result.status, 38);
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("Usage: ploop ")) << result.err;
}

TEST(Program, TellsItsVersion) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"--version"});
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(result.out.starts_with("ploop version ")) << result.out;
}

TEST(Program, RefusesUnknownGlobalOptions) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"-q", "list"});
  EXPECT_EQ(result.status, 38);
  EXPECT_TRUE(result.err.starts_with("Bad option -q\nUsage: ploop ")) << result.err;
}

TEST(Program, RefusesUnknownCommands) {
  const Sandbox box;
  for (const char* name : {"snapshots", "Init", "shrink", "--", "a/b"}) {
    const ProcessResult result = box.ploop({name, "x"});
    EXPECT_EQ(result.status, 38) << name;
    EXPECT_EQ(result.out, "") << name;
  }
}

TEST(Program, RunsPloopCommandFromPath) {
  const Sandbox box;
  write_text(box / "ploop-frobnicate", "#!/bin/sh\necho \"$# $1 $2\"\nexit 7\n");
  ASSERT_EQ(run({"/bin/chmod", "+x", box / "ploop-frobnicate"}).status, 0);
  const ProcessResult result = box.ploop({"-v4", "frobnicate", "-x", "a b"},
                                         {.environment = {{"PATH", box.dir().path() + ":/bin:/usr/bin"}}});
  EXPECT_EQ(result.status, 7);
  EXPECT_EQ(result.out, "2 -x a b\n");
}

TEST(Program, OldNameOfCheckWarns) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"fsck", "missing.hdd"});
  EXPECT_EQ(result.status, 4);
  EXPECT_TRUE(result.err.starts_with("WARNING: ploop fsck command is obsoleted, please use ploop check\n"))
      << result.err;
}

TEST(Program, ListsNothingWithoutDevices) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"list", "-a"});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out + result.err, "");
}

TEST(Program, WorksWithoutStandardDescriptors) {
  const Sandbox box;
  const ProcessResult result = box.ploop({"init", "-s", "10m", "-t", "none", "i.hdd"}, {.closed = {0, 1, 2}});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(slurp(box / "i.hdd").substr(0, 16), "WithouFreSpacExt")
      << "messages must not end up in the image";
}

TEST(Program, OutputThatCannotBeWrittenIsAnError) {
  const Sandbox box;
  const std::string ploop = PLOOP_BINARY;
  EXPECT_EQ(run({"/bin/sh", "-c", "exec '" + ploop + "' --help >/dev/full"}).status, 7);
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  EXPECT_EQ(run({"/bin/sh", "-c",
                 "exec '" + ploop + "' snapshot-list '" + (box / "DiskDescriptor.xml") + "' >/dev/full"})
                .status,
            7);
}

TEST(Program, SignalEndsACommandThatOnlyWaits) {
  const Sandbox box;
  ASSERT_EQ(box.ploop({"init", "-s10m", "-tnone", "i.hdd"}).status, 0);
  const int lock = ::open((box / "DiskDescriptor.xml.lck").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  const ProcessResult result = box.ploop({"check", "DiskDescriptor.xml"},
                                         {.signal = SIGTERM, .signal_after = std::chrono::milliseconds(300)});
  ::close(lock);
  EXPECT_EQ(result.status, 128 + SIGTERM);
  EXPECT_EQ(result.out, "Cancelling...\n");
  EXPECT_EQ(result.err, "");
}

TEST(Program, LevelsDecideWhatIsPrinted) {
  const std::string add = "Adding snapshot {5fbaabe3-6958-40ff-92a7-860e329aab41}\n";
  const std::string create = "Creating delta i.hdd bs=2048 size=20480 sectors v2\n";
  const std::string store = "Storing DiskDescriptor.xml\n";
  const std::vector<std::pair<std::string, std::string>> rows = {{"-v-2", ""},
                                                                 {"-v-1", ""},
                                                                 {"-v0", create + store},
                                                                 {"-v2", create + store},
                                                                 {"-v3", create + add + store}};
  for (const auto& [option, expected] : rows) {
    const Sandbox box;
    const ProcessResult result = box.ploop({option, "init", "-s10m", "-tnone", "i.hdd"});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.out, expected) << option;
    EXPECT_EQ(result.err, "") << option;
  }
}

TEST(Program, HighVerbosityStampsEveryLine) {
  const Sandbox box;
  const ProcessResult made = box.ploop({"-v4", "init", "-s10m", "-tnone", "i.hdd"});
  EXPECT_TRUE(made.out.starts_with("[ 0.0")) << made.out;
  EXPECT_NE(made.out.find("] Creating delta i.hdd"), std::string::npos) << made.out;
  const ProcessResult again = box.ploop({"-vv", "init", "-s10m", "-tnone", "i.hdd"});
  EXPECT_EQ(again.err.find("] Can't create"), 10u) << again.err;
}

}  // namespace
}  // namespace ploop::test
