#include "descriptor/xml.hpp"

#include <gtest/gtest.h>

#include "descriptor/test_documents.hpp"

namespace ploop::descriptor {
namespace {

using namespace testing;

Disk parsed(const std::string& text) {
  auto disk = parse(text, "/vz/disk");
  EXPECT_TRUE(disk) << (disk ? "" : disk.error().message());
  return disk ? *disk : Disk{};
}

constexpr const char* kFresh = R"(<?xml version="1.0"?>
<Parallels_disk_image>
  <Disk_Parameters>
    <Disk_size>20971520</Disk_size>
    <Cylinders>40960</Cylinders>
    <Heads>16</Heads>
    <Sectors>32</Sectors>
    <Padding>0</Padding>
  </Disk_Parameters>
  <StorageData>
    <Storage>
      <Start>0</Start>
      <End>20971520</End>
      <Blocksize>2048</Blocksize>
      <Image>
        <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
        <Type>Compressed</Type>
        <File>disk.hdd</File>
      </Image>
    </Storage>
  </StorageData>
  <Snapshots>
    <TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>
    <Shot>
      <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
      <ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID>
    </Shot>
  </Snapshots>
</Parallels_disk_image>
)";

constexpr const char* kBranched = R"(<?xml version="1.0"?>
<Parallels_disk_image>
  <Disk_Parameters>
    <Disk_size>2097152</Disk_size>
    <Max_delta_size>1048576</Max_delta_size>
    <Cylinders>2080</Cylinders>
    <Heads>16</Heads>
    <Sectors>63</Sectors>
    <Padding>0</Padding>
  </Disk_Parameters>
  <StorageData>
    <Storage>
      <Start>0</Start>
      <End>2097152</End>
      <Blocksize>2048</Blocksize>
      <Preallocated>1</Preallocated>
      <Image>
        <GUID>{aaaaaaaa-1111-4111-8111-000000000001}</GUID>
        <Type>Compressed</Type>
        <File>root.hdd</File>
      </Image>
      <Image>
        <GUID>{bbbbbbbb-2222-4222-8222-000000000002}</GUID>
        <Type>Compressed</Type>
        <File>root.hdd.{a0a0a0a0-bbbb-4bbb-8bbb-00000000000a}</File>
      </Image>
      <Image>
        <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
        <Type>Compressed</Type>
        <File>/other/place &amp; &lt;name&gt;</File>
      </Image>
    </Storage>
  </StorageData>
  <Snapshots>
    <TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>
    <Shot>
      <GUID>{aaaaaaaa-1111-4111-8111-000000000001}</GUID>
      <ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID>
      <Temporary/>
    </Shot>
    <Shot>
      <GUID>{bbbbbbbb-2222-4222-8222-000000000002}</GUID>
      <ParentGUID>{aaaaaaaa-1111-4111-8111-000000000001}</ParentGUID>
    </Shot>
    <Shot>
      <GUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</GUID>
      <ParentGUID>{aaaaaaaa-1111-4111-8111-000000000001}</ParentGUID>
    </Shot>
  </Snapshots>
</Parallels_disk_image>
)";

TEST(Serialize, WritesAFreshDiskByteForByte) {
  const Disk disk = new_disk({.directory = "/vz/disk",
                              .image = "/vz/disk/disk.hdd",
                              .size_sectors = 20971520,
                              .cylinders = 40960,
                              .heads = 16});
  EXPECT_EQ(serialize(disk), kFresh);
  EXPECT_EQ(parsed(kFresh), disk);
}

TEST(Serialize, WritesEverythingAModelCanHold) {
  Disk disk;
  disk.directory = "/vz/disk";
  disk.size_sectors = 2097152;
  disk.max_delta_sectors = 1048576;
  disk.cylinders = 2080;
  disk.heads = 16;
  disk.cluster_sectors = 2048;
  disk.mode = Mode::Preallocated;
  disk.images = {{kA, "/vz/disk/root.hdd", {}},
                 {kB, "/vz/disk/root.hdd.{a0a0a0a0-bbbb-4bbb-8bbb-00000000000a}", {}},
                 {kTop, "/other/place & <name>", {}}};
  disk.shots = {{kA, kNone, true, {}}, {kB, kA, false, {}}, {kTop, kA, false, {}}};
  disk.top_uuid = kTop;
  EXPECT_EQ(serialize(disk), kBranched);
  EXPECT_EQ(parsed(kBranched), disk);
}

TEST(Serialize, CallsEveryImageOfARawDiskPlain) {
  Document d;
  d.images = image(kA, "root.hdd", "Plain") + image(kTop, "root.hdd.2");
  d.shots = shot(kA, kNone) + shot(kTop, kA);
  const Disk disk = parsed(d.text());
  EXPECT_EQ(disk.mode, Mode::Raw);
  const std::string text = serialize(disk);
  EXPECT_EQ(text.find("Compressed"), std::string::npos);
  EXPECT_EQ(parsed(text), disk);
}

TEST(Serialize, SectorsFollowTheSizeAndSurviveNoGeometry) {
  Disk disk = parsed(Document().text());
  disk.size_sectors *= 2;
  EXPECT_NE(serialize(disk).find("<Sectors>126</Sectors>"), std::string::npos);
  disk.heads = 0;
  EXPECT_NE(serialize(disk).find("<Sectors>0</Sectors>"), std::string::npos);
}

TEST(Parse, TakesNumbersInEveryBaseAndTrimsThem) {
  Document d;
  d.parameters = "<Disk_size> 0x200000\n</Disk_size><Cylinders>04040</Cylinders><Heads>16</Heads>";
  const Disk disk = parsed(d.text());
  EXPECT_EQ(disk.size_sectors, 2097152u);
  EXPECT_EQ(disk.cylinders, 2080u);
}

TEST(Parse, JoinsCdataWithText) {
  Document d;
  d.images = image(kTop, "ro<![CDATA[ot&]]>.hdd");
  EXPECT_EQ(parsed(d.text()).images[0].file, "/vz/disk/root&.hdd");
}

TEST(Serialize, KeepsNamesThatAreAllBlank) {
  Disk disk = parsed(Document().text());
  disk.images[0].file = "/vz/disk/  ";
  EXPECT_EQ(parsed(serialize(disk)), disk);
}

TEST(Parse, KeepsAbsoluteNamesAndRelativeOnesWithDots) {
  Document d;
  d.images = image(kA, "/abs/root.hdd") + image(kTop, "../up/root.hdd");
  d.shots = shot(kA, kNone) + shot(kTop, kA);
  const Disk disk = parsed(d.text());
  EXPECT_EQ(disk.images[0].file, "/abs/root.hdd");
  EXPECT_EQ(disk.images[1].file, "/vz/disk/../up/root.hdd");
  EXPECT_EQ(parsed(serialize(disk)), disk);
}

TEST(Parse, ImpliesTheOnlyShotOfADiskWithoutSnapshots) {
  Document d;
  d.shots.clear();
  d.snapshots.clear();
  const Disk disk = parsed(d.text());
  EXPECT_EQ(disk.top_uuid, kTop);
  ASSERT_EQ(disk.shots.size(), 1u);
  EXPECT_EQ(disk.shots[0].parent, kNone);
}

TEST(Parse, FindsTheTopByItsFixedUuidWhenItIsNotNamed) {
  Document d;
  d.images = image(kA, "a") + image(kTop, "b");
  d.snapshots.clear();
  d.shots = shot(kA, kNone) + shot(kTop, kA);
  EXPECT_EQ(parsed(d.text()).top_uuid, kTop);
}

TEST(Parse, RecognisesTheOldFormat) {
  Document d;
  d.images = image(kA, "a") + image(kB, "b");
  d.snapshots = "<TopGUID>" + kB + "</TopGUID>";
  d.shots = shot(kA, kNone) + shot(kB, kA);
  Disk disk = parsed(d.text());
  EXPECT_TRUE(disk.old_format());
  ASSERT_TRUE(convert_old_format(disk));
  EXPECT_FALSE(disk.old_format());
  EXPECT_EQ(disk.images[1].uuid, kTop);
  EXPECT_EQ(disk.shots[1].uuid, kTop);
  EXPECT_TRUE(validate(disk));
}

TEST(Parse, ComparesUuidsWithoutCaseButKeepsIt) {
  Document d;
  const std::string upper = "{AAAAAAAA-1111-4111-8111-000000000001}";
  d.images = image(upper, "a") + image(kTop, "b");
  d.shots = shot(kA, kNone) + shot(kTop, upper);
  const Disk disk = parsed(d.text());
  EXPECT_EQ(disk.images[0].uuid, upper);
  EXPECT_EQ(disk.chain(kTop), (std::vector<std::string>{"/vz/disk/a", "/vz/disk/b"}));
}

TEST(Parse, TakesAnyRootAndEveryElementBehindTheFirstImageAsAnImage) {
  Document d;
  d.root = "Virtuozzo_disk_image";
  d.images = image(kA, "a") + "<Delta><GUID>" + kTop + "</GUID><File>b</File></Delta>";
  d.shots = shot(kA, kNone) + "<Node><GUID>" + kTop + "</GUID><ParentGUID>" + kA + "</ParentGUID></Node>";
  const Disk disk = parsed(d.text());
  EXPECT_EQ(disk.images.size(), 2u);
  EXPECT_EQ(disk.shots.size(), 2u);
  EXPECT_NE(serialize(disk).find("<Virtuozzo_disk_image>"), std::string::npos);
}

TEST(Parse, ReadsLatin1WhereItIsDeclared) {
  Document d;
  d.prolog = "<?xml version='1.0' encoding='ISO-8859-1'?>";
  d.images = image(kTop, "r\xf6t.hdd");
  EXPECT_EQ(parsed(d.text()).images[0].file, "/vz/disk/r\xc3\xb6t.hdd");
}

TEST(Parse, ReadsADiskOfParallelsDesktopAndKeepsWhatItDoesNotKnow) {
  Document d;
  d.prolog = "<?xml version='1.0' encoding='UTF-8'?>\r\n";
  d.parameters =
      "<Disk_size>134217728</Disk_size><Cylinders>262144</Cylinders><PhysicalSectorSize>4096</"
      "PhysicalSectorSize>"
      "<LogicSectorSize>512</LogicSectorSize><Heads>16</Heads><Sectors>32</Sectors><Padding>0</Padding>"
      "<Encryption><Engine>{00000000-0000-0000-0000-000000000000}</Engine><Data></Data></Encryption>"
      "<UID>{f0f0f0f0-0000-4000-8000-123456789abc}</UID><Name>disk &quot;one&quot;</Name>"
      "<Miscellaneous><CompatLevel>level2</CompatLevel><Bootable>1</Bootable></Miscellaneous>";
  d.images = image(kTop, "disk.hdd.0." + kTop + ".hds");
  d.snapshots.clear();
  std::string text = d.text();
  text.replace(text.find("<Parallels_disk_image>"), 22, "<Parallels_disk_image Version=\"1.0\">");
  const Disk disk = parsed(text);
  EXPECT_EQ(disk.size_sectors, 134217728u);
  EXPECT_EQ(disk.top_uuid, kTop);

  const std::string written = serialize(disk);
  EXPECT_NE(written.find("<Parallels_disk_image Version=\"1.0\">\n"), std::string::npos);
  EXPECT_NE(written.find("    <Miscellaneous>\n      <CompatLevel>level2</CompatLevel>\n"), std::string::npos)
      << written;
  EXPECT_NE(written.find("    <Name>disk \"one\"</Name>\n"), std::string::npos) << written;
  EXPECT_EQ(parsed(written), disk);
}

TEST(Parse, KeepsForeignElementsInEveryPlace) {
  Document d;
  const std::string odd =
      "<x:odd a=\"&quot;1&#10;&gt;\"> <y/>text <!-- gone --> tail<![CDATA[<raw>]]><z> </z></x:odd>";
  d.parameters += odd + "<Encryption><KeyId>key-7</KeyId></Encryption>";
  d.storage += odd;
  d.images = "<Image><GUID>" + kTop + "</GUID><File>a</File>" + odd + "</Image>";
  d.snapshots += odd;
  d.shots = shot(kTop, kNone, odd);
  d.before_storage = odd;
  std::string text = d.text();
  text.insert(text.rfind("</"), odd + odd);
  const Disk disk = parsed(text);
  EXPECT_EQ(disk.key_id, "key-7");
  for (const std::string* kept :
       {&disk.kept.root, &disk.kept.disk_parameters, &disk.kept.storage_data, &disk.kept.storage,
        &disk.kept.snapshots, &disk.images[0].kept, &disk.shots[0].kept}) {
    EXPECT_NE(kept->find("x:odd"), std::string::npos);
    EXPECT_NE(kept->find("&lt;raw&gt;"), std::string::npos);
  }
  const std::string written = serialize(disk);
  EXPECT_EQ(parsed(written), disk) << written;
  EXPECT_EQ(serialize(parsed(written)), written);
}

}  // namespace
}  // namespace ploop::descriptor
