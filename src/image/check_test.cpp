#include "image/check.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <random>

#include "format/extension.hpp"
#include "image/sparse.hpp"
#include "image/test_image.hpp"
#include "io/fault_file.hpp"
#include "io/posix_file.hpp"

namespace ploop::image {
namespace {

using namespace testing;
using format::Version;
using io::MemoryFile;

const CheckOptions kForce{.force = true};
const CheckOptions kForceCheck{.force = true, .check = true};
const CheckOptions kForceReadOnly{.force = true, .check = true, .read_only = true};
const CheckOptions kHard{.force = true, .hard_force = true, .check = true, .drop_in_use = true};

/// Lines as a terminal would show them, "!" before those of stderr.
std::string shown(const CheckReport& report) {
  std::string lines;
  for (const Finding& finding : report.findings) {
    if (finding.is_error_output()) lines += "!";
    lines += report.text(finding) + "|";
    if (finding.prints_verdict()) lines += std::string(verdict_text(finding.verdict)) + "|";
  }
  return lines;
}

struct Row {
  const char* name;
  Version version;
  std::function<void(MemoryFile&)> damage;
  CheckOptions options;
  ExitCode exit;
  const char* shown;
  bool changes;
};

class Check : public ::testing::TestWithParam<Row> {};

TEST_P(Check, SaysAndDoesWhatTheOriginalWouldOrBetter) {
  const Row& row = GetParam();
  const auto file = make_image({.version = row.version}, {{3, 1}, {1, 2}, {2, 3}});
  row.damage(*file);
  const auto before = bytes_of(*file);
  const auto report = check_image(*file, row.options);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->exit, row.exit);
  EXPECT_EQ(shown(*report), row.shown);
  EXPECT_EQ(report->changed, row.changes);
  EXPECT_EQ(bytes_of(*file) != before, row.changes);
}

void dirty(MemoryFile& f) {
  put32(f, 44, format::kInUseMark);
}
constexpr auto kNothing = [](MemoryFile&) {};

INSTANTIATE_TEST_SUITE_P(
    Cases, Check,
    ::testing::Values(
        Row{"CleanIsSkipped",
            Version::V2,
            kNothing,
            {},
            ExitCode::Ok,
            "Image is clean, check is skipped|",
            false},
        Row{"CleanIsSkippedSilently", Version::V2, kNothing, {.silent = true}, ExitCode::Ok, "", false},
        Row{"DamageIsNotSeenWithoutForce",
            Version::V2,
            [](auto& f) { put_slot(f, 9, 99); },
            {.silent = true},
            ExitCode::Ok,
            "",
            false},
        Row{"SoundAndForced", Version::V2, kNothing, kForceCheck, ExitCode::Ok, "", false},
        Row{"DirtyButSound", Version::V2, dirty, {}, ExitCode::InUse, "!Dirty flag is set|", false},
        Row{"DirtyDropped",
            Version::V2,
            dirty,
            {.drop_in_use = true},
            ExitCode::Ok,
            "!Dirty flag is set|",
            true},
        Row{"DirtyDroppedReadOnly",
            Version::V2,
            dirty,
            {.read_only = true, .drop_in_use = true},
            ExitCode::Write,
            "!Dirty flag is set|!Image is clean but unable to fix the header on ro image|",
            false},
        Row{"DirtyReadOnly",
            Version::V2,
            dirty,
            {.read_only = true},
            ExitCode::InUse,
            "!Dirty flag is set|",
            false},
        Row{"DirtyAfterCrash",
            Version::V2,
            [](auto& f) { dirty(f), put32(f, 52, 1), f.truncate(7 * 32768); },
            {.drop_in_use = true},
            ExitCode::Ok,
            "Trimming tail|!Dirty flag is set|!CIF_Empty flag is incorrect|",
            true},
        Row{"ForeignMarkIsNotDirty",
            Version::V2,
            [](auto& f) { put32(f, 44, 0x37316470); },
            {.silent = true},
            ExitCode::Ok,
            "",
            false},
        Row{"BehindDevice", Version::V2, [](auto& f) { put_slot(f, 600, 2); }, kForce, ExitCode::Ok,
            "Data cluster (600) beyond block device size... |Fixed|", true},
        Row{"BehindDeviceReadOnly", Version::V2, [](auto& f) { put_slot(f, 510, 2); }, kForceReadOnly,
            ExitCode::Format, "Data cluster (510) beyond block device size... |Skipped|", false},
        Row{"Misaligned", Version::V1, [](auto& f) { put_slot(f, 9, 65); }, kForce, ExitCode::Format,
            "L2 slot (65) corrupted... |FATAL|!Fatal errors were found, image image is not repaired|", false},
        Row{"MisalignedHard", Version::V1, [](auto& f) { put_slot(f, 9, 65); }, kHard, ExitCode::Ok,
            "L2 slot (65) corrupted... |Fixed|", true},
        Row{"BeyondEof", Version::V2, [](auto& f) { put_slot(f, 9, 0x1000); }, kForce, ExitCode::Format,
            "Data cluster 4096 beyond EOF, vsec=576... |FATAL|!Fatal errors were found, image image is not "
            "repaired|",
            false},
        Row{"BeyondEofHard", Version::V2, [](auto& f) { put_slot(f, 9, 0x1000); }, kHard, ExitCode::Ok,
            "Data cluster 4096 beyond EOF, vsec=576... |Fixed|", true},
        Row{"BeyondEofHardReadOnly",
            Version::V2,
            [](auto& f) { put_slot(f, 9, 0x1000); },
            {.hard_force = true, .read_only = true},
            ExitCode::Format,
            "Data cluster 4096 beyond EOF, vsec=576... |FATAL|!Fatal errors were found, image image is not "
            "repaired|",
            false},
        Row{"ReservedSlotHard", Version::V2, [](auto& f) { put_slot(f, 9, 0xFFFFFFFF); }, kHard, ExitCode::Ok,
            "Data cluster 4294967295 beyond EOF, vsec=576... |Fixed|", true},
        Row{"InHeader", Version::V1, [](auto& f) { put32(f, 48, 128); }, kForce, ExitCode::Format,
            "Block 1 is used more than once, vsec=192... |FATAL|!Fatal errors were found, image image is not "
            "repaired|",
            false},
        Row{"InHeaderHard", Version::V2, [](auto& f) { put32(f, 48, 128); }, kHard, ExitCode::Ok,
            "Block 1 is used more than once, vsec=192... |Fixed|", true},
        Row{"DoubleIsNotSeenWithoutCheck", Version::V2, [](auto& f) { put_slot(f, 9, 2); }, kForce,
            ExitCode::Ok, "", false},
        Row{"Double", Version::V2, [](auto& f) { put_slot(f, 9, 2); }, kForceCheck, ExitCode::Format,
            "Block 2 is used more than once, vsec=576... |FATAL|!Fatal errors were found, image image is not "
            "repaired|",
            false},
        Row{"DoubleInDirtyImage",
            Version::V2,
            [](auto& f) { put_slot(f, 9, 2), dirty(f); },
            {.drop_in_use = true},
            ExitCode::Format,
            "Block 2 is used more than once, vsec=576... |FATAL|!Fatal errors were found, image image is not "
            "repaired|",
            false},
        Row{"DoubleHard",
            Version::V2,
            [](auto& f) { put_slot(f, 9, 2); },
            {.hard_force = true},
            ExitCode::Ok,
            "Block 2 is used more than once, vsec=576... |Fixed|",
            true},
        Row{"FatalLeavesHarmlessDamageAlone", Version::V2,
            [](auto& f) { put_slot(f, 9, 0x1000), put_slot(f, 600, 2), f.truncate(9 * 32768); }, kForce,
            ExitCode::Format,
            "Data cluster 4096 beyond EOF, vsec=576... |FATAL|Data cluster (600) beyond block device size... "
            "|Skipped|!Want to trim tail|!Fatal errors were found, image image is not repaired|",
            false},
        Row{"Holes", Version::V2, [](auto& f) { put_slot(f, 1, 0), put_slot(f, 3, 0); }, kForceCheck,
            ExitCode::Ok, "Hole at block 1|Hole at block 2|", false},
        Row{"Tail", Version::V2, [](auto& f) { f.truncate(9 * 32768 + 17); }, kForce, ExitCode::Ok,
            "Trimming tail|", true},
        Row{"TailReadOnly", Version::V2, [](auto& f) { f.truncate(9 * 32768); }, kForceReadOnly, ExitCode::Ok,
            "!Want to trim tail|", false},
        Row{"PartialTail", Version::V2, [](auto& f) { f.truncate(4 * 32768 - 5); }, kForce, ExitCode::Ok,
            "End of file cuts block 3... |Fixed|", true},
        Row{"PartialTailReadOnly", Version::V2, [](auto& f) { f.truncate(4 * 32768 - 5); }, kForceReadOnly,
            ExitCode::Format, "End of file cuts block 3... |Skipped|", false},
        Row{"EmptyFlagSet", Version::V2, [](auto& f) { put32(f, 52, 1); }, kForce, ExitCode::Ok,
            "!CIF_Empty flag is incorrect|", true},
        Row{"EmptyFlagSetReadOnly", Version::V2, [](auto& f) { put32(f, 52, 1); }, kForceReadOnly,
            ExitCode::Write,
            "!CIF_Empty flag is incorrect|!Image is clean but unable to fix the header on ro image|", false},
        Row{"StaleExtension", Version::V2, [](auto& f) { put32(f, 56, 4096); }, kForce, ExitCode::Ok,
            "Format extension is stale|", true},
        Row{"StaleExtensionReadOnly", Version::V2, [](auto& f) { put32(f, 56, 4096); }, kForceReadOnly,
            ExitCode::Ok, "Format extension is stale|", false},
        Row{"DamagedExtension", Version::V2,
            [](auto& f) { put32(f, 44, format::kClosedWithExtension), put32(f, 56, 192); }, kForce,
            ExitCode::Ok, "Format extension is damaged... |Fixed|", true}),
    [](const auto& row) { return std::string(row.param.name); });

/// After a hard repair nothing is left to find and the image opens for writing.
TEST_P(Check, HardRepairMakesItSoundAndASecondOneChangesNothing) {
  const auto file = make_image({.version = GetParam().version}, {{3, 1}, {1, 2}, {2, 3}});
  GetParam().damage(*file);
  auto report = check_image(*file, kHard);
  ASSERT_TRUE(report) << report.error().message();
  ASSERT_EQ(report->exit, ExitCode::Ok) << shown(*report);
  report = check_image(*file, kForceReadOnly);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->exit, ExitCode::Ok) << shown(*report);
  EXPECT_FALSE(report->changed);
  for (const Finding& finding : report->findings)
    EXPECT_EQ(finding.severity, Severity::Info);
  EXPECT_TRUE(open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64}));
}

// ------------------------------------------------------------------------------------------------ errors

TEST(CheckErrors, UnusableHeadersKeepTheirReason) {
  const auto code = [](const std::function<void(MemoryFile&)>& damage, const CheckOptions& options) {
    const auto file = make_image({}, {{3, 1}});
    damage(*file);
    const auto report = check_image(*file, options);
    return report ? ""
                  : std::to_string(static_cast<int>(report.error().code)) + " " + report.error().message();
  };
  EXPECT_EQ(code([](auto& f) { put32(f, 0, 0); }, {}), "11 Wrong signature in image image");
  EXPECT_EQ(code([](auto& f) { put32(f, 16, 3); }, {}), "11 Wrong type in image image");
  EXPECT_EQ(code([](auto& f) { put32(f, 28, 63); }, {}), "11 Wrong cluster size 63 in image image");
  EXPECT_EQ(code([](auto& f) { put32(f, 48, 65); }, {}), "11 Wrong first block offset in image image");
  EXPECT_EQ(code([](auto& f) { put32(f, 48, 640); }, kForce), "11 Wrong first block offset in image image");
  EXPECT_EQ(code([](auto& f) { put32(f, 52, 2), dirty(f); }, {}),
            "17 Image image is in the changing version state");
  EXPECT_EQ(code([](auto& f) { f.truncate(50); }, {}).substr(0, 2), "6 ");
  EXPECT_EQ(code([](auto& f) { f.truncate(100); }, kForce).substr(0, 2), "6 ");
  EXPECT_EQ(code([](auto&) {}, {.raw = true}), "38 Cluster blocksize required for raw image");
  EXPECT_EQ(code([](auto&) {}, {.raw = true, .blocksize = 63}).substr(0, 3), "38 ");
  EXPECT_EQ(code([](auto&) {}, {.raw = true, .blocksize = 2048}), "");
}

// ------------------------------------------------------------------------------------------------ repair

TEST(Repair, DoublesGetACopyAndTheFirstKeepsItsPlace) {
  const auto file = make_image({}, {{3, 1}, {1, 2}, {2, 4}});  // file cluster 3 is a hole
  put_slot(*file, 9, 2);
  put_slot(*file, 10, 2);
  const auto report = check_image(*file, kHard);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->copied_clusters, 2u);
  EXPECT_EQ(report->lost_clusters, 0u);
  EXPECT_EQ(get_slot(*file, 1), 2u);
  EXPECT_EQ(get_slot(*file, 9), 3u);
  EXPECT_EQ(get_slot(*file, 10), 5u);
  const auto bytes = bytes_of(*file);
  const auto expected = pattern(0x41, 1, 32768);
  for (const std::ptrdiff_t cluster : {2, 3, 5}) {
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin() + cluster * 32768));
  }
}

TEST(Repair, CopiesThatFillTheTailLeaveNothingToTrim) {
  const auto file = make_image({}, {{3, 1}});
  put_slot(*file, 9, 1);
  file->truncate(3 * 32768);
  const auto report = check_image(*file, kHard);
  ASSERT_TRUE(report);
  EXPECT_EQ(shown(*report), "Block 1 is used more than once, vsec=576... |Fixed|");
  EXPECT_EQ(file->size(), 3 * 32768);
}

TEST(Repair, LostClustersAreCounted) {
  const auto file = make_image({}, {{3, 1}});
  for (const std::uint32_t guest : {7u, 8u, 9u})
    put_slot(*file, guest, 0x1000 + guest);
  put_slot(*file, 600, 5);
  const auto report = check_image(*file, kHard);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->lost_clusters, 3u);
}

TEST(Repair, WritesOnlyThePagesThatChangeAndNeverTheHeaderBytes) {
  const auto file = make_image({.clusters = 8000}, {{3, 1}});
  put_slot(*file, 7000, 77);
  dirty(*file);
  const auto before = bytes_of(*file);
  const auto report = check_image(*file, {.hard_force = true});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->exit, ExitCode::InUse);
  auto after = bytes_of(*file);
  EXPECT_EQ(get_slot(*file, 7000), 0u);
  std::copy_n(before.begin() + 64 + 28000, 4, after.begin() + 64 + 28000);
  EXPECT_EQ(after, before);
}

TEST(Repair, ValidExtensionSurvivesACheckAndIsForgottenWhenSlotsChange) {
  const auto file = make_image({}, {{3, 1}});
  format::Header header = *format::make_header(510 * 64, 64, Version::V2);
  header.flags = 0;
  header.in_use = format::kClosedWithExtension;
  header.extension_sectors = 3 * 64;
  put_header(*file, header);
  format::DirtyBitmap bitmap;
  bitmap.size_sectors = header.size_sectors;
  bitmap.granularity_sectors = 64;
  bitmap.l1 = {2 * 64};
  file->truncate(3 * 32768);
  file->write(*format::encode_extension(bitmap, 32768), 3 * 32768);
  const auto before = bytes_of(*file);

  auto report = check_image(*file, kForceCheck);
  ASSERT_TRUE(report);
  EXPECT_EQ(shown(*report), "");
  EXPECT_EQ(bytes_of(*file), before);

  put_slot(*file, 9, 2);  // data in the bitmap's cluster: the extension cannot be right
  report = check_image(*file, kForceCheck);
  ASSERT_TRUE(report);
  EXPECT_EQ(shown(*report), "Format extension is damaged... |Fixed|Trimming tail|");
  EXPECT_EQ(get32(*file, 44), 0u);
  EXPECT_EQ(get32(*file, 56), 0u);
  EXPECT_EQ(get_slot(*file, 9), 2u);
  EXPECT_EQ(file->size(), 3 * 32768);
}

/// A repair that stops at any call can be run again, and then ends as if it had not been interrupted.
TEST(Repair, CanBeInterruptedAnywhere) {
  const auto damaged = make_image({.clusters = 9000}, {{3, 2}, {1, 3}, {8999, 4}});
  put_slot(*damaged, 9, 3);
  put_slot(*damaged, 8500, 4);
  put_slot(*damaged, 10, 99);
  put_slot(*damaged, 9100, 3);
  put32(*damaged, 56, 640);
  dirty(*damaged);
  damaged->truncate(9 * 32768 - 100);
  const auto whole = copy_of(*damaged);
  ASSERT_EQ(check_image(*whole, kHard)->exit, ExitCode::Ok);

  bool finished = false;
  std::uint64_t steps = 0;
  for (; !finished; ++steps) {
    io::FaultPlan plan;
    plan.add({.kind = std::nullopt, .first = steps, .times = io::Fault::kForEver, .half_done = true});
    io::FaultFile file(copy_of(*damaged), plan);
    finished = check_image(file, kHard).has_value();
    const auto again = check_image(file.inner(), kHard);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(again->exit, ExitCode::Ok);
    EXPECT_EQ(bytes_of(file.inner()), bytes_of(*whole)) << "interrupted at call " << steps;
  }
  EXPECT_GT(steps, 10u);
}

TEST(Repair, RandomDamageIsRepairedAndSoundDataSurvives) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 60; ++round) {
    const Version version = (random() & 1) != 0 ? Version::V1 : Version::V2;
    const std::uint32_t clusters = 100;
    Slots slots;
    for (std::uint32_t i = 0; i < 12; ++i)
      slots.emplace_back(i * 7 + static_cast<std::uint32_t>(random() % 7), i + 1);
    const auto file = make_image({.clusters = clusters, .version = version}, slots);
    const auto sound = open_copy(*file);
    ASSERT_TRUE(sound);
    std::vector<bool> touched(clusters);
    for (int change = 0; change < 4; ++change) {
      const std::uint32_t guest = static_cast<std::uint32_t>(random() % 120);
      put_slot(*file, guest, static_cast<std::uint32_t>(random() % 20) * (version == Version::V1 ? 32 : 1));
      if (guest < clusters) touched[guest] = true;
    }
    ASSERT_EQ(check_image(*file, kHard)->exit, ExitCode::Ok);
    const auto second = check_image(*file, kForceReadOnly);
    ASSERT_EQ(second->exit, ExitCode::Ok) << shown(*second);
    const auto repaired =
        open_copy(*file, {.allow_in_use = false, .writable = true, .raw_cluster_sectors = 64});
    ASSERT_TRUE(repaired) << repaired.error().message();
    for (const auto& [guest, cluster] : slots) {
      if (touched[guest]) continue;
      ASSERT_NE(repaired->table()[guest], 0u);
      std::vector<std::byte> data(32768);
      ASSERT_TRUE(
          io::read_exact(repaired->file(), data, repaired->table()[guest] * std::uint64_t{32768}, "data"));
      ASSERT_EQ(data, pattern(0x41, guest, 32768));
    }
  }
}

TEST(Scan, HolesOfAHugeSparseFileAreCountedNotListed) {
  const auto file = make_image({}, {{3, 1}});
  put_slot(*file, 7, 5000000);
  file->truncate(5000001ull * 32768);
  const auto scan = scan_image(*file, kForceCheck);
  ASSERT_TRUE(scan);
  ASSERT_EQ(scan->findings.size(), 65537u);
  EXPECT_EQ(scan->findings.back().kind, FindingKind::MoreHoles);
  EXPECT_EQ(scan->findings.back().count, 5000000u - 2 - 65536);
}

// ------------------------------------------------------------------------------------------------ real files

class CheckFile : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "ploop-check-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = directory_ / "image";
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  void store(io::BlockFile& file) {
    auto out = io::PosixFile::open(path_, {.writable = true, .direct = false, .exclusive_create = true});
    ASSERT_TRUE(out);
    ASSERT_TRUE(io::write_exact(**out, bytes_of(file), 0, "image"));
  }
  std::filesystem::path directory_;
  std::string path_;
};

TEST_F(CheckFile, RepairsOnDisk) {
  const auto file = make_image({}, {{3, 1}});
  file->truncate(5 * 32768);
  dirty(*file);
  store(*file);
  EXPECT_EQ(check_file(path_, {})->exit, ExitCode::InUse);
  EXPECT_EQ(check_file(path_, {.drop_in_use = true})->exit, ExitCode::Ok);
  EXPECT_EQ(std::filesystem::file_size(path_), 2u * 32768);
  const auto clean = check_file(path_, {.drop_in_use = true});
  ASSERT_TRUE(clean);
  EXPECT_EQ(shown(*clean), "Image is clean, check is skipped|");
}

TEST_F(CheckFile, LockedImageIsLeftAlone) {
  const auto file = make_image({}, {{3, 1}});
  dirty(*file);
  store(*file);
  auto device = io::PosixFile::open(path_, {.writable = true, .direct = false, .exclusive_create = false});
  ASSERT_TRUE(device);
  ASSERT_TRUE(*(*device)->try_lock(io::LockKind::Exclusive));
  for (const bool read_only : {false, true}) {
    const auto report = check_file(path_, {.read_only = read_only, .drop_in_use = true});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ExitCode::InUse);
  }
  EXPECT_EQ(get32(**device, 44), format::kInUseMark);
}

TEST_F(CheckFile, MissingFileCannotBeOpened) {
  EXPECT_EQ(check_file(path_, {}).error().code, ExitCode::Open);
  EXPECT_EQ(check_file(directory_, {}).error().code, ExitCode::Open);
}

TEST_F(CheckFile, HolesAreFilledOnlyOnRequest) {
  const auto file = make_image({}, {{3, 1}});
  store(*file);
  ASSERT_EQ(::truncate(path_.c_str(), 32768 * 3), 0);
  auto grown = io::PosixFile::open(path_, {.writable = true, .direct = false, .exclusive_create = false});
  ASSERT_TRUE(grown);
  put_slot(**grown, 9, 2);
  if ((*grown)->punch(65536, 32768) < 0) GTEST_SKIP() << "no hole punching here";
  (*grown)->sync();
  grown->reset();

  const auto plain = check_file(path_, {.force = true, .check = true});
  ASSERT_TRUE(plain);
  EXPECT_EQ(shown(*plain), "1 blocks in use have unwritten parts, which read as zeros|");
  EXPECT_FALSE(plain->changed);
  const auto filled = check_file(path_, {.read_only = true, .repair_sparse = true, .silent = true});
  ASSERT_TRUE(filled);
  EXPECT_EQ(shown(*filled), "Filling hole at start=65536 len=32768|");
  EXPECT_EQ(shown(*check_file(path_, {.force = true, .check = true, .repair_sparse = true})), "");
}

TEST_F(CheckFile, RawImageHasOnlyHoles) {
  auto raw = io::PosixFile::open(path_, {.writable = true, .direct = false, .exclusive_create = true});
  ASSERT_TRUE(raw);
  ASSERT_EQ((*raw)->truncate(100000), 0);
  raw->reset();
  EXPECT_EQ(shown(*check_file(path_, {.raw = true, .blocksize = 64})), "");
  EXPECT_EQ(shown(*check_file(path_, {.raw = true, .blocksize = 64, .repair_sparse = true})),
            "Filling hole at start=0 len=100000|");
}

}  // namespace
}  // namespace ploop::image
