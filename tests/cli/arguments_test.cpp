// One row per form of a command line that scripts use: what the arguments mean, or how they are refused.
#include <gtest/gtest.h>

#include <functional>

#include "base/uuid.hpp"
#include "cli/mount_helper.hpp"
#include "cli/program.hpp"

namespace ploop::cli {
namespace {

constexpr const char* kBare = "8ed4e1f9-0000-4000-8000-00000000000a";
constexpr const char* kBraced = "{8ed4e1f9-0000-4000-8000-00000000000a}";

template <typename T>
struct Row {
  const char* name;
  Words args;
  std::function<bool(const T&)> holds;
};

template <typename T, typename Parse>
void expect_rows(const std::vector<Row<T>>& rows, Parse parse) {
  for (const Row<T>& row : rows) {
    const Parsed<T> parsed = parse(row.args);
    ASSERT_TRUE(parsed) << row.name << ": " << parsed.error().text;
    EXPECT_TRUE(row.holds(*parsed)) << row.name;
  }
}

struct BadRow {
  const char* name;
  Words args;
  const char* message;  ///< begins with
  ExitCode code = ExitCode::Param;
  bool usage = true;
};

template <typename Parse>
void expect_bad(const std::vector<BadRow>& rows, Parse parse) {
  for (const BadRow& row : rows) {
    const auto parsed = parse(row.args);
    ASSERT_FALSE(parsed) << row.name;
    const Stop& stop = parsed.error();
    EXPECT_EQ(stop.code, row.code) << row.name;
    EXPECT_TRUE(stop.text.starts_with(row.message)) << row.name << ": " << stop.text;
    EXPECT_EQ(stop.text.find("Usage: ploop ") != std::string::npos, row.usage)
        << row.name << ": " << stop.text;
  }
}

using Init = ops::InitOptions;
TEST(Arguments, InitForms) {
  expect_rows<Init>(
      {
          {"libvirt",
           {"-s", "1024M", "-t", "ext4", "/pool/v/root.hds"},
           [](const Init& o) {
             return o.size_sectors == 2097152 && o.file_system.type == fs::FsType::Ext4 &&
                    o.image == "/pool/v/root.hds" && o.version == format::Version::V2 &&
                    o.cluster_sectors == 2048 && o.file_system.lazy && o.file_system.block_size == 4096 &&
                    o.format == image::CreateFormat::Expanded;
           }},
          {"attached size", {"-s10g", "i"}, [](const Init& o) { return o.size_sectors == 20971520; }},
          {"bare number is sectors",
           {"-s", "204800", "-f", "expanded", "i"},
           [](const Init& o) { return o.size_sectors == 204800; }},
          {"K suffix", {"-s", "375000K", "i"}, [](const Init& o) { return o.size_sectors == 750000; }},
          {"hexadecimal", {"-s", "0x10", "i"}, [](const Init& o) { return o.size_sectors == 16; }},
          {"octal", {"-s", "010000", "i"}, [](const Init& o) { return o.size_sectors == 4096; }},
          {"options behind the operand",
           {"i", "-s", "1g", "-n"},
           [](const Init& o) { return o.image == "i" && !o.file_system.lazy && o.size_sectors == 2097152; }},
          {"bundled",
           {"-ns1g", "i"},
           [](const Init& o) { return !o.file_system.lazy && o.size_sectors == 2097152; }},
          {"long", {"--nolazy", "-s1g", "i"}, [](const Init& o) { return !o.file_system.lazy; }},
          {"abbreviated", {"--nola", "-s1g", "i"}, [](const Init& o) { return !o.file_system.lazy; }},
          {"last one wins",
           {"-s", "1g", "-s", "2g", "i"},
           [](const Init& o) { return o.size_sectors == 4194304; }},
          {"everything",
           {"-s", "1T", "-f", "preallocated", "-v", "1", "-t", "none", "-b", "128", "-B", "1024", "i"},
           [](const Init& o) {
             return o.format == image::CreateFormat::Preallocated && o.version == format::Version::V1 &&
                    o.file_system.type == fs::FsType::None && o.cluster_sectors == 128 &&
                    o.file_system.block_size == 1024;
           }},
          {"raw", {"-fraw", "-s1g", "i"}, [](const Init& o) { return o.format == image::CreateFormat::Raw; }},
          {"xfs",
           {"-t", "xfs", "-s1g", "i"},
           [](const Init& o) { return o.file_system.type == fs::FsType::Xfs; }},
          {"block size 0 is the default",
           {"-b0", "-s1g", "i"},
           [](const Init& o) { return o.cluster_sectors == 2048; }},
          {"dash behind --", {"-s1g", "--", "-image"}, [](const Init& o) { return o.image == "-image"; }},
          {"brackets stay", {"-s1g", "[a,b]"}, [](const Init& o) { return o.image == "[a,b]"; }},
      },
      parse_init);
}

TEST(Arguments, InitRefusals) {
  expect_bad(
      {
          {"no size", {"i"}, "The size is missing"},
          {"zero size, as libvirt really asks for",
           {"-s", "0M", "-t", "ext4", "i"},
           "The size must not be 0"},
          {"no operand", {"-s1g"}, "The name of the image"},
          {"two operands", {"-s1g", "a", "b"}, "There must be one image"},
          {"bad suffix", {"-s", "1GB", "i"}, "ERROR: Invalid argument for option -s: 1GB"},
          {"fraction", {"-s", "1.5g", "i"}, "ERROR: Invalid argument for option -s: 1.5g"},
          {"empty size", {"-s", "", "i"}, "ERROR: Invalid argument for option -s: "},
          {"suffix only", {"-s", "k", "i"}, "ERROR: Invalid argument for option -s: k"},
          {"negative", {"-s", "-5", "i"}, "ERROR: Too large value for option -s: -5"},
          {"2^63 bytes", {"-s", "18014398509481984", "i"}, "ERROR: Too large value for option -s"},
          {"bound", {"-s", "2199023255040", "i"}, "ERROR: Too large value for option -s"},
          {"format", {"-f", "Raw", "-s1g", "i"}, "Bad -f argument: Raw"},
          {"version", {"-v", "3", "-s1g", "i"}, "Invalid -v argument: 3"},
          {"type", {"-t", "btrfs", "-s1g", "i"}, "Incorrect file system type specified: btrfs"},
          {"block size no power",
           {"-b", "100", "-s1g", "i"},
           "Incorrect blocksize specified: 100",
           ExitCode::Param,
           false},
          {"block size small",
           {"-b", "32", "-s1g", "i"},
           "Incorrect blocksize specified: 32",
           ExitCode::Param,
           false},
          {"block size large",
           {"-b", "262144", "-s1g", "i"},
           "Incorrect blocksize specified",
           ExitCode::Param,
           false},
          {"block size junk", {"-b", "2048x", "-s1g", "i"}, "ERROR: Invalid argument for option -b: 2048x"},
          {"fs block junk", {"-B", "4k", "-s1g", "i"}, "ERROR: Invalid argument for option -B: 4k"},
          {"unknown option", {"-x", "-s1g", "i"}, "init: invalid option -- 'x'"},
          {"unknown bundled", {"-nx", "-s1g", "i"}, "init: invalid option -- 'x'"},
          {"unknown long", {"--lazy", "-s1g", "i"}, "init: unrecognized option '--lazy'"},
          {"value missing", {"i", "-s"}, "init: option requires an argument -- 's'"},
          {"flag with a value",
           {"--nolazy=1", "-s1g", "i"},
           "init: option '--nolazy' doesn't allow an argument"},
      },
      parse_init);
}

using Mount = ops::MountOptions;
TEST(Arguments, MountForms) {
  expect_rows<Mount>(
      {
          {"goploop",
           {"-m", "mnt", "DiskDescriptor.xml"},
           [](const Mount& o) {
             return o.directory == "mnt" && o.operands == Words{"DiskDescriptor.xml"} && !o.uuid;
           }},
          {"Cinder: bare UUID behind the operand",
           {"DiskDescriptor.xml", "-u", kBare, "-r"},
           [](const Mount& o) { return o.uuid == kBraced && o.read_only; }},
          {"Bareos",
           {"-r", "-c", "/var/lib/name", "-u", kBraced, "-m", "/mnt/x", "DD.xml"},
           [](const Mount& o) {
             return o.component == "/var/lib/name" && o.uuid == kBraced && o.directory == "/mnt/x";
           }},
          {"kernel scripts",
           {"-f", "ploop1", "-d", "/dev/ploop12", "img"},
           [](const Mount& o) { return !o.raw && o.device == "/dev/ploop12" && o.operands == Words{"img"}; }},
          {"list, raw base",
           {"-f", "raw", "-b", "2048", "base", "top"},
           [](const Mount& o) {
             return o.raw && o.cluster_sectors == 2048u && o.operands == (Words{"base", "top"});
           }},
          {"bundled with a value",
           {"-rFoacl,nodev", "DD.xml"},
           [](const Mount& o) { return o.read_only && o.fsck && o.fs_options == "acl,nodev"; }},
          {"type", {"-t", "xfs", "DD.xml"}, [](const Mount& o) { return o.fs_type == "xfs"; }},
          {"several external images",
           {"--allow-external", "/a", "--allow-external=/b", "DD.xml"},
           [](const Mount& o) {
             return o.allow_external == (Words{"/a", "/b"}) && o.operands == Words{"DD.xml"};
           }},
          {"transport",
           {"--transport", "fuse", "DD.xml"},
           [](const Mount& o) { return o.transport == "fuse"; }},
          {"a full host is an error",
           {"--on-enospc=fail", "DD.xml"},
           [](const Mount& o) { return o.on_enospc == control::OnEnospc::Fail; }},
          {"a full host is waited for",
           {"--on-enospc", "wait", "DD.xml"},
           [](const Mount& o) { return o.on_enospc == control::OnEnospc::Wait; }},
          {"required sandbox",
           {"--require-sandbox", "DD.xml"},
           [](const Mount& o) { return o.require_sandbox && o.operands == Words{"DD.xml"}; }},
      },
      parse_mount);
  expect_bad(
      {
          {"nothing", {}, "What to mount is missing"},
          {"no UUID", {"-u", "base", "DD.xml"}, "Incorrect uuid specified: base", ExitCode::Param, false},
          {"format", {"-f", "qcow2", "img"}, "Bad -f argument: qcow2"},
          {"block size", {"-b", "7", "img"}, "Incorrect blocksize specified: 7", ExitCode::Param, false},
          {"option", {"-z", "DD.xml"}, "mount: invalid option -- 'z'"},
      },
      parse_mount);
}

using Umount = ops::UmountOptions;
TEST(Arguments, UmountForms) {
  expect_rows<Umount>(
      {
          {"descriptor",
           {"DiskDescriptor.xml"},
           [](const Umount& o) { return o.target == "DiskDescriptor.xml"; }},
          {"device",
           {"-d", "/dev/ploop0"},
           [](const Umount& o) { return o.device == "/dev/ploop0" && o.target.empty(); }},
          {"Bareos: operand is ignored",
           {"-c", "name", "-m", "/mnt/x", "DD.xml"},
           [](const Umount& o) {
             return o.directory == "/mnt/x" && o.component == "name" && o.target.empty();
           }},
      },
      parse_umount);
  expect_bad({{"nothing", {}, "What to unmount is missing"}, {"two", {"a", "b"}, "There must be one disk"}},
             parse_umount);
}

TEST(Arguments, CopyForms) {
  expect_rows<CopyArguments>(
      {
          {"receive",
           {"-d", "f"},
           [](const CopyArguments& o) {
             return !o.send && o.receive.file == "f" && o.receive.input == 0 && o.receive.feedback == -1;
           }},
          {"receive from and to",
           {"-df", "-i3", "-f4"},
           [](const CopyArguments& o) { return !o.send && o.receive.input == 3 && o.receive.feedback == 4; }},
          {"send to stdout",
           {"-s", "/dev/ploop0"},
           [](const CopyArguments& o) {
             return o.send && o.send->sink.file.empty() && o.send->sink.output == 1 &&
                    o.send->sink.feedback == -1;
           }},
          {"send to a file",
           {"-F", "stop it", "-d", "f", "-s", "/dev/ploop0"},
           [](const CopyArguments& o) {
             return o.send && o.send->sink.file == "f" && o.send->device == "/dev/ploop0" &&
                    o.send->stop_command == "stop it";
           }},
          {"send to a descriptor",
           {"-s", "ploop0", "-o", "5", "-f", "6"},
           [](const CopyArguments& o) {
             return o.send && o.send->sink.output == 5 && o.send->sink.feedback == 6;
           }},
      },
      parse_copy);
  expect_bad({{"nothing", {}, "Either -s or -d is required"},
              {"number", {"-d", "f", "-i", "99999999999"}, "Invalid argument for option -i"}},
             parse_copy);
}

TEST(Arguments, InfoAndListForms) {
  expect_rows<InfoArguments>(
      {
          {"plain",
           {"DD.xml"},
           [](const InfoArguments& a) { return !a.geometry && !a.device && a.descriptor == "DD.xml"; }},
          {"behind", {"DD.xml", "-s"}, [](const InfoArguments& a) { return a.geometry && !a.device; }},
          {"both", {"-sd", "DD.xml"}, [](const InfoArguments& a) { return a.geometry && a.device; }},
      },
      parse_info);
  expect_bad({{"image", {"root.hdd"}, "The descriptor is missing"},
              {"other case", {"DiskDescriptor.XML"}, "The descriptor is missing"},
              {"slash behind the dot", {"d.xml/image"}, "The descriptor is missing"},
              {"nothing", {}, "The descriptor is missing"}},
             parse_info);
  expect_rows<ListArguments>({{"plain", {}, [](const ListArguments& a) { return !a.mount_points; }},
                              {"all", {"-a"}, [](const ListArguments& a) { return a.mount_points; }}},
                             parse_list);
  expect_bad({{"operand", {"x"}, "list takes no operands"}}, parse_list);
}

TEST(Arguments, CheckForms) {
  expect_rows<CheckArguments>(
      {
          {"all short",
           {"-fFcrsdS", "img"},
           [](const CheckArguments& a) {
             const auto& f = a.request.flags;
             return f.force && f.hard_force && f.check && f.read_only && f.silent && f.drop_in_use &&
                    f.repair_sparse && !f.raw && a.ignored_flags;
           }},
          {"all long",
           {"--force", "--hard-force", "--check", "--ro", "--silent", "--drop-inuse", "--repair-sparse",
            "--raw", "--blocksize", "128", "img"},
           [](const CheckArguments& a) {
             const auto& f = a.request.flags;
             return f.force && f.hard_force && f.check && f.read_only && f.silent && f.drop_in_use &&
                    f.repair_sparse && f.raw && f.blocksize == 128;
           }},
          {"abbreviated",
           {"--forc", "--dro", "img"},
           [](const CheckArguments& a) { return a.request.flags.force && a.request.flags.drop_in_use; }},
          {"uuid",
           {"-u", kBare, "DD.xml"},
           [](const CheckArguments& a) { return a.request.uuid == kBraced && !a.ignored_flags; }},
          {"read-only counts for a disk",
           {"-r", "DD.xml"},
           [](const CheckArguments& a) { return a.request.flags.read_only && !a.ignored_flags; }},
      },
      parse_check);
  expect_bad(
      {
          {"nothing", {}, "What to check is missing"},
          {"raw without block size",
           {"-R", "img"},
           "Cluster blocksize required for raw image",
           ExitCode::Param,
           false},
          {"ambiguous", {"--r", "img"}, "check: option '--r' is ambiguous"},
      },
      parse_check);
}

TEST(Arguments, RestoreDescriptorForms) {
  using Restore = ops::RestoreOptions;
  expect_rows<Restore>(
      {
          {"libvirt",
           {"/pool/v", "/pool/v/root.hds"},
           [](const Restore& o) {
             return o.directory == "/pool/v" && o.image == "/pool/v/root.hds" && !o.raw;
           }},
          {"nova", {"-f", "raw", "/d", "/d/i"}, [](const Restore& o) { return o.raw && !o.cluster_sectors; }},
          {"expanded", {"-f", "expanded", "/d", "/d/i"}, [](const Restore& o) { return !o.raw; }},
          {"block size",
           {"-f", "raw", "-b", "64", "/d", "/d/i"},
           [](const Restore& o) { return o.cluster_sectors == 64u; }},
      },
      parse_restore_descriptor);
  expect_bad({{"one operand", {"/d"}, "A directory and an image must be given"}}, parse_restore_descriptor);
}

TEST(Arguments, SnapshotListForms) {
  using List = SnapshotListArguments;
  using enum SnapshotField;
  expect_rows<List>(
      {
          {"plain",
           {"DD.xml"},
           [](const List& a) {
             return a.header && a.fields == std::vector{ParentUuid, Current, Uuid, File} && !a.rows.uuid &&
                    !a.rows.snapshots_only;
           }},
          {"scripts",
           {"DD.xml", "-H", "-o", "uuid"},
           [](const List& a) { return !a.header && a.fields == std::vector{Uuid}; }},
          {"two columns",
           {"-H", "-o", "current,fname", "DD.xml"},
           [](const List& a) {
             return a.fields == std::vector{Current, File};
           }},
          {"any case",
           {"-o", "FName,UUID", "DD.xml"},
           [](const List& a) {
             return a.fields == std::vector{File, Uuid};
           }},
          {"--snapshot takes no value",
           {"--snapshot", "DD.xml"},
           [](const List& a) { return a.rows.snapshots_only && a.descriptor == "DD.xml"; }},
          {"--id", {"--id", kBare, "DD.xml"}, [](const List& a) { return a.rows.uuid == kBraced; }},
          {"more operands", {"DD.xml", "other.xml"}, [](const List& a) { return a.descriptor == "DD.xml"; }},
      },
      parse_snapshot_list);
  expect_bad(
      {
          {"nothing", {}, "The descriptor is missing", ExitCode::Create},
          {"unknown field", {"-o", "name", "DD.xml"}, "Unknown field: name", ExitCode::Create, false},
          {"option", {"-q", "DD.xml"}, "snapshot-list: invalid option -- 'q'", ExitCode::Create},
      },
      parse_snapshot_list);
}

TEST(Arguments, DeleteForms) {
  expect_rows<DeleteArguments>(
      {{"both",
        {"-d", "/dev/ploop1", "-l", "127"},
        [](const DeleteArguments& a) { return a.device == "/dev/ploop1" && a.level == 127; }}},
      parse_delete);
  expect_bad(
      {
          {"no device", {"-l", "1"}, "The device is missing"},
          {"no level", {"-d", "/dev/ploop1"}, "The level is missing"},
          {"level", {"-d", "/dev/ploop1", "-l", "128"}, "Invalid level: 128"},
          {"no number", {"-d", "/dev/ploop1", "-l", "top"}, "Invalid level: top"},
          {"operand", {"-d", "/dev/ploop1", "-l", "1", "x"}, "delete takes no operands"},
      },
      parse_delete);
}

TEST(Arguments, StatForms) {
  expect_rows<StatArguments>(
      {
          {"show", {"-d", "/dev/ploop1"}, [](const StatArguments& a) { return !a.clear && !a.load; }},
          {"clear",
           {"-cd", "/dev/ploop1"},
           [](const StatArguments& a) { return a.clear && a.device == "/dev/ploop1"; }},
          {"load", {"-l", "-d", "/dev/ploop1"}, [](const StatArguments& a) { return a.load; }},
      },
      parse_stat);
  expect_bad({{"both", {"-c", "-l", "-d", "/dev/ploop1"}, "Options -c and -l can't be used together"},
              {"no device", {"-c"}, "The device is missing"}},
             parse_stat);
}

TEST(Arguments, ResizeForms) {
  expect_rows<ops::ResizeOptions>(
      {
          {"sectors",
           {"-s", "4096", "/d/D.xml"},
           [](const ops::ResizeOptions& o) { return o.size_sectors == 4096 && o.descriptor == "/d/D.xml"; }},
          {"as libvirt calls it",
           {"-s", "2048M", "/d/D.xml"},
           [](const ops::ResizeOptions& o) { return o.size_sectors == 4194304; }},
      },
      parse_resize);
  expect_bad({{"no size", {"D.xml"}, "The new size is missing"},
              {"size 0", {"-s", "0", "D.xml"}, "The new size is missing"},
              {"no number", {"-s", "ten", "D.xml"}, "ERROR: Invalid argument for option -s: ten"}},
             parse_resize);
}

TEST(Arguments, BalloonForms) {
  using A = BalloonArguments;
  expect_rows<A>(
      {
          {"descriptor",
           {"show", "/d/D.xml"},
           [](const A& a) { return a.action == "show" && a.discard.target.descriptor == "/d/D.xml"; }},
          {"-f of old scripts",
           {"status", "-f", "-d", "/dev/ploop3"},
           [](const A& a) { return a.discard.target.device == "/dev/ploop3"; }},
          {"device and directory",
           {"check", "-d", "/dev/ploop3", "-m", "/mnt"},
           [](const A& a) {
             return a.discard.target.device == "/dev/ploop3" && a.discard.target.directory == "/mnt";
           }},
          {"size in sectors",
           {"change", "-s", "8", "-m", "/mnt"},
           [](const A& a) { return a.size.value == 4096; }},
          {"emptied", {"change", "-s", "0", "D.xml"}, [](const A& a) { return a.size.value == 0; }},
          {"everything of discard",
           {"discard", "D.xml", "--automount", "--to-free", "1g", "--min-block=2m", "--defrag", "--stat",
            "--json"},
           [](const A& a) {
             return a.discard.automount && a.discard.to_free.value == kGiB &&
                    a.discard.min_block.value == 2 * kMiB && a.discard.defrag && a.stat && a.json;
           }},
      },
      parse_balloon);
  expect_bad(
      {{"nothing to do", {"inflate", "D.xml"}, "There is no balloon command 'inflate'"},
       {"no disk", {"show"}, "Error: one of -d, -m or DiskDescriptor.xml argument is required"},
       {"change without a size", {"change", "D.xml"}, "The new size is missing"},
       {"a size elsewhere", {"show", "-s", "1g", "D.xml"}, "balloon: invalid option -- 's'"},
       {"two disks", {"show", "D.xml", "E.xml"}, "There must be one disk only"},
       {"automount of a device", {"discard", "-d", "/dev/ploop3", "--automount"}, "Option --automount needs"},
       {"json without stat", {"discard", "D.xml", "--json"}, "Option --json goes with --stat"}},
      parse_balloon);
  for (const Words& words : {Words{"discard"}, Words{"discard", "-m", "/mnt", "D.xml"}}) {
    const auto parsed = parse_balloon(words);
    ASSERT_FALSE(parsed);
    EXPECT_EQ(parsed.error().code, ExitCode::Create) << "what discard has always answered";
  }
}

TEST(Arguments, MountHelperForms) {
  using Helper = MountHelperArguments;
  expect_rows<Helper>(
      {
          {"as mount(8) calls it",
           {"/d/D.xml", "/mnt", "-o", "rw,noatime"},
           [](const Helper& a) {
             return !a.mount.read_only && a.mount.fs_options == "noatime" && a.mount.directory == "/mnt" &&
                    a.mount.operands == Words{"/d/D.xml"} && a.mount.umount_helper == "ploop";
           }},
          {"ro of fstab",
           {"/d/D.xml", "/mnt", "-o", "ro,defaults,data=ordered"},
           [](const Helper& a) { return a.mount.read_only && a.mount.fs_options == "data=ordered"; }},
          {"the last of ro and rw",
           {"/d/D.xml", "/mnt", "-o", "ro", "-o", "rw"},
           [](const Helper& a) { return !a.mount.read_only; }},
          {"quoted commas",
           {"/d/D.xml", "/mnt", "-o", "context=\"a,ro\",ro"},
           [](const Helper& a) { return a.mount.read_only && a.mount.fs_options == "context=\"a,ro\""; }},
          {"sloppy, fake, unrecorded, verbose",
           {"/d/D.xml", "/mnt", "-sfnv"},
           [](const Helper& a) { return a.fake && a.verbose && a.mount.umount_helper.empty(); }},
      },
      parse_mount_helper);
  expect_bad({{"no directory", {"/d/D.xml"}, "A descriptor and a directory must be given"},
              {"an image", {"/d/root.hdd", "/mnt"}, "/d/root.hdd is not the name of a descriptor"}},
             parse_mount_helper);
  expect_rows<UmountHelperArguments>(
      {
          {"directory",
           {"/mnt", "-n"},
           [](const UmountHelperArguments& a) { return a.umount.directory == "/mnt"; }},
          {"device",
           {"/dev/ploop3p1"},
           [](const UmountHelperArguments& a) { return a.umount.device == "/dev/ploop3p1"; }},
          {"relative directory",
           {"ploop3"},
           [](const UmountHelperArguments& a) { return a.umount.directory == "ploop3"; }},
      },
      parse_umount_helper);
  expect_bad({{"lazy", {"-l", "/mnt"}, "-l would leave the device running"}}, parse_umount_helper);
}

struct GlobalRow {
  Words words;
  int verbosity;
  std::size_t command;
  const char* bad = "";
};

TEST(Arguments, GlobalOptions) {
  const std::vector<GlobalRow> rows = {
      {{"list"}, 3, 0},
      {{"-v", "list"}, 4, 1},
      {{"-vv", "list"}, 5, 1},
      {{"-vvv", "-v", "list"}, 7, 2},
      {{"-v0", "-v-1", "info", "-d", "X"}, -1, 2},
      {{"-v-1", "-v0", "info"}, 0, 2},
      {{"-v0", "-v", "info"}, 1, 2},
      {{"-v-2", "info"}, -2, 1},
      {{"-v", "3", "info"}, 4, 1},
      {{"-q", "list"}, 3, 0, "-q"},
      {{"-v1x", "list"}, 3, 0, "-v1x"},
      {{"--verbose", "list"}, 3, 0, "--verbose"},
      {{}, 3, 0},
  };
  for (const GlobalRow& row : rows) {
    const GlobalOptions parsed = parse_global(row.words);
    const std::string name = row.words.empty() ? "nothing" : row.words.front();
    EXPECT_EQ(parsed.verbosity, row.verbosity) << name;
    EXPECT_EQ(parsed.command, row.command) << name;
    EXPECT_EQ(parsed.bad, row.bad) << name;
  }
}

}  // namespace
}  // namespace ploop::cli
