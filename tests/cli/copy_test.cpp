// `ploop copy` without a device: the receiver against streams as the original sends them and as nobody
// should, the statuses of both ends. The streams are made by hand here, from the published layout. Real
// copies are in tests/device/copy.sh.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <filesystem>

#include "ploop.hpp"

namespace ploop::test {
namespace {

namespace stdfs = std::filesystem;

std::string number(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i)
    text += static_cast<char>(value >> (8 * i) & 0xFF);
  return text;
}
std::string packet(std::uint64_t position, const std::string& data, std::uint32_t marker = 0x4CC0AC3D) {
  return number(marker, 4) + number(data.size(), 4) + number(position, 8) + data;
}
const std::string kSync = packet(0, "With");
const std::string kEnd = packet(0, "");

/// A copy as the original sends it: clusters, what was written meanwhile, sync, the rest, the header, the
/// end.
std::string original_stream() {
  return packet(0, std::string(32768, 'h')) + packet(32768, std::string(32768, 'a')) +
         packet(65536, std::string(32768, '\0')) + packet(33280, std::string(512, 'b')) + kSync +
         packet(36864, std::string(4096, '\0')) + packet(0, std::string(512, 'c')) + kEnd;
}
std::string original_file() {
  std::string file =
      std::string(512, 'c') + std::string(32256, 'h') + std::string(32768, 'a') + std::string(32768, '\0');
  file.replace(33280, 512, std::string(512, 'b'));
  file.replace(36864, 4096, std::string(4096, '\0'));
  return file;
}

class Copy : public testing::Test {
 protected:
  /// A bash script in the folder, with $PLOOP and $stream.
  ProcessResult bash(const std::string& script) {
    ProcessOptions options;
    options.directory = box_.dir().path();
    options.environment = {
        {"PLOOP", PLOOP_BINARY}, {"PLOOP_RUNDIR", box_ / "run"}, {"PLOOP_DEVDIR", box_ / "dev"}};
    return run({"/bin/bash", "-c", script}, options);
  }
  ProcessResult receive(const std::string& stream, const std::string& more = "") {
    write_text(box_ / "stream", stream);
    return bash("cat stream | \"$PLOOP\" copy -d out " + more);
  }
  /// Nothing but the stream is in the folder: no file, no part of one.
  void expect_nothing_left() {
    for (const auto& entry : stdfs::directory_iterator(box_.dir().path())) {
      EXPECT_TRUE(entry.path().filename() == "stream" || entry.path().filename() == "answers")
          << entry.path();
    }
  }
  Sandbox box_;
};

TEST_F(Copy, TakesTheOriginalsStream) {
  const ProcessResult result = receive(original_stream());
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(slurp(box_ / "out"), original_file());
  struct stat st {};
  ASSERT_EQ(::stat((box_ / "out").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
}

TEST_F(Copy, TakesItFromASocketAndFromAnyDescriptor) {
  write_text(box_ / "stream", original_stream());
  EXPECT_EQ(bash("cat stream | \"$PLOOP\" copy -d out -i 5 5<&0 0</dev/null").status, 0);
  EXPECT_EQ(slurp(box_ / "out"), original_file());
}

TEST_F(Copy, AnswersEverySyncMark) {
  write_text(box_ / "stream",
             packet(0, std::string(512, 'x')) + kSync + packet(512, std::string(512, 'y')) + kSync + kEnd);
  const ProcessResult result =
      bash("cat stream | \"$PLOOP\" copy -d out -f 1 | cat >answers; exit ${PIPESTATUS[1]}");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(slurp(box_ / "answers"), "SUCCESS\nSUCCESS\n") << "and no message between them";
}

TEST_F(Copy, GivesTheFileItsExactLength) {
  for (const std::size_t tail : {1u, 3u, 5u, 511u, 4097u}) {
    stdfs::remove(box_ / "out");
    ASSERT_EQ(
        receive(packet(0, std::string(1000, 'x')) + packet(100'000, std::string(tail, '\0')) + kEnd).status,
        0);
    EXPECT_EQ(stdfs::file_size(box_ / "out"), 100'000 + tail) << "zeros at the end count";
  }
}

TEST_F(Copy, LeavesWhatFollowsTheEndToOthers) {
  write_text(box_ / "stream", original_stream() + "and then something else");
  const ProcessResult result = bash("{ \"$PLOOP\" -v-1 copy -d out && cat; } < <(cat stream)");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "and then something else");
}

TEST_F(Copy, NeverReplacesAFile) {
  write_text(box_ / "out", "mine");
  const ProcessResult result = receive(original_stream());
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("Can't create out: File exists"), std::string::npos) << result.err;
  EXPECT_EQ(slurp(box_ / "out"), "mine");
  stdfs::remove(box_ / "out");
  EXPECT_EQ(receive(original_stream(), "-d no/such/folder/out").status, 1);
}

TEST_F(Copy, DoesNotReplaceAFileThatAppearsMeanwhile) {
  write_text(box_ / "stream", original_stream());
  const ProcessResult result = bash(
      "{ head -c 40000 stream; sleep 0.3; echo mine >out; tail -c +40001 stream; } | \"$PLOOP\" copy -d out");
  EXPECT_EQ(result.status, 1) << result.err;
  EXPECT_EQ(slurp(box_ / "out"), "mine\n");
}

struct Cut {
  const char* name;
  std::string stream;
  int status;
};
void PrintTo(const Cut& row, std::ostream* out) {
  *out << row.name;
}
class DamagedStream : public Copy, public testing::WithParamInterface<Cut> {};

TEST_P(DamagedStream, LeavesNoFileAndSaysWhy) {
  const ProcessResult result = receive(GetParam().stream);
  EXPECT_EQ(result.status, GetParam().status) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_EQ(result.out, "");
  expect_nothing_left();
}

INSTANTIATE_TEST_SUITE_P(
    Cli, DamagedStream,
    testing::Values(Cut{"nothing", "", 6},
                    Cut{"no_end", original_stream().substr(0, original_stream().size() - 16), 6},
                    Cut{"half_an_end", original_stream().substr(0, original_stream().size() - 8), 6},
                    Cut{"half_a_head", original_stream().substr(0, 7), 6},
                    Cut{"half_the_data", original_stream().substr(0, 20'000), 6},
                    Cut{"half_a_sync", packet(0, "abcdefgh") + kSync.substr(0, 18), 6},
                    Cut{"text", "this is not a stream at all, is it?", 13},
                    Cut{"later_generation", packet(0, std::string(64, 'x'), 0x4CC0AC3E) + kEnd, 13},
                    Cut{"damaged_in_the_middle", packet(0, std::string(512, 'x')) + "garbage garbage " + kEnd,
                        13},
                    Cut{"four_gigabytes", number(0x4CC0AC3D, 4) + number(0xFFFFFFFF, 4) + number(0, 8), 13},
                    Cut{"behind_every_file", packet(0x7FFFFFFFFFFFFFFF, "abcdef") + kEnd, 13},
                    Cut{"beyond_what_a_file_system_has", packet(0x7FFFFFFFFFFFFF00, "abcdef") + kEnd, 7}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(Copy, AFullDiskIsAWriteErrorAndLeavesNothing) {
  write_text(box_ / "stream", original_stream());
  const ProcessResult result = bash("trap '' XFSZ; ulimit -f 8; cat stream | \"$PLOOP\" copy -d out");
  EXPECT_EQ(result.status, 7) << result.err;
  expect_nothing_left();
}

TEST_F(Copy, AnswersThatNobodyReadsAreAWriteError) {
  write_text(box_ / "stream", original_stream());
  const ProcessResult result =
      bash("exec 3> >(exec 0<&-); sleep 0.3; cat stream | \"$PLOOP\" copy -d out -f 3");
  EXPECT_EQ(result.status, 7) << result.err;
  expect_nothing_left();
}

TEST_F(Copy, AKilledReceiverLeavesNothing) {
  write_text(box_ / "stream", original_stream());
  for (const char* signal : {"KILL", "TERM", "INT"}) {
    const ProcessResult result = bash(
        std::string(
            "{ head -c 90000 stream; sleep 1; } | { \"$PLOOP\" copy -d out & pid=$!; sleep 0.3; kill -") +
        signal + " $pid; wait $pid; }");
    EXPECT_NE(result.status, 0) << signal;
    expect_nothing_left();
  }
}

TEST_F(Copy, WantsPipesOrSockets) {
  write_text(box_ / "stream", original_stream());
  struct Row {
    const char* script;
    const char* message;
  };
  const Row rows[] = {
      {"\"$PLOOP\" copy -d out <stream", "Invalid input fd 0: must be a pipe or a socket"},
      {"\"$PLOOP\" copy -d out -i 9", "Invalid input fd 9: must be a pipe or a socket"},
      {"cat stream | \"$PLOOP\" copy -d out -f 7 7>answers",
       "Invalid feedback fd 7: must be a pipe or a socket"},
  };
  for (const Row& row : rows) {
    const ProcessResult result = bash(row.script);
    EXPECT_EQ(result.status, 38) << row.script;
    EXPECT_EQ(result.err, std::string(row.message) + "\n");
    EXPECT_FALSE(exists(box_ / "out"));
  }
}

TEST_F(Copy, RefusesWhatDoesNotGoTogether) {
  struct Row {
    std::vector<std::string> args;
    const char* message;
  };
  const Row rows[] = {
      {{"copy"}, "Either -s or -d is required"},
      {{"copy", "-f", "1"}, "Either -s or -d is required"},
      {{"copy", "-d", "out", "stray"}, "There is nothing to be named besides the options"},
      {{"copy", "-s", "/dev/ploop0", "-d", "a", "-o", "1"}, "-d and -o exclude each other"},
      {{"copy", "-d", "a", "-o", "1"}, "-o and -F need -s"},
      {{"copy", "-s", "/dev/ploop0", "-i", "0"}, "-i is for receiving only"},
      {{"copy", "-d", "a", "-i", "-1"}, "Invalid argument for option -i: -1"},
      {{"copy", "-d", "a", "-f", "1x"}, "Invalid argument for option -f: 1x"},
  };
  for (const Row& row : rows) {
    const ProcessResult result = box_.ploop(row.args);
    EXPECT_EQ(result.status, 38);
    EXPECT_TRUE(result.err.starts_with(std::string(row.message) + "\nUsage: ploop copy")) << result.err;
    EXPECT_FALSE(exists(box_ / "a"));
  }
}

TEST_F(Copy, SenderSaysWhenThereIsNoDevice) {
  for (const char* name : {"/dev/ploop77", "/dev/null", "root.hdd"}) {
    const ProcessResult result = box_.ploop({"copy", "-s", name, "-d", "out"});
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_NE(result.err.find(std::string("Can't open device ") + name), std::string::npos) << result.err;
    EXPECT_FALSE(exists(box_ / "out"));
  }
}

}  // namespace
}  // namespace ploop::test
