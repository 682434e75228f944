// One row per way in which a descriptor can be damaged or built to do harm. Every one is refused with the
// status of an unusable descriptor and a text without control characters, in bounded time and memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "descriptor/test_documents.hpp"
#include "descriptor/xml.hpp"

namespace ploop::descriptor {
namespace {

using namespace testing;

struct Row {
  const char* name;
  std::function<std::string()> text;
  const char* says;
};

std::string with(const std::function<void(Document&)>& change) {
  Document d;
  change(d);
  return d.text();
}

std::string repeat(const std::string& text, std::size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i)
    out += text;
  return out;
}

std::string chain_of(int length) {
  Document d;
  d.images.clear();
  d.shots.clear();
  const auto name = [length](int i) {
    if (i == length) return kTop;
    char uuid[64];
    std::snprintf(uuid, sizeof uuid, "{00000000-0000-4000-8000-%012x}", static_cast<unsigned>(i));
    return std::string(uuid);
  };
  for (int i = 1; i <= length; ++i) {
    d.images += image(name(i), "f" + std::to_string(i));
    d.shots += shot(name(i), i == 1 ? kNone : name(i - 1));
  }
  return d.text();
}

std::string entity_bomb() {
  return "<?xml version=\"1.0\"?><!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]>" +
         with([](Document& d) {
           d.prolog.clear();
           d.images = image(kTop, "&b;");
         });
}

std::string without(const std::string& element) {
  std::string text = Document().text();
  const std::size_t from = text.find("<" + element + ">");
  const std::string end = "</" + element + ">";
  return text.erase(from, text.find(end) + end.size() - from);
}

const Row kRows[] = {
    {"empty", [] { return std::string(); }, "empty"},
    {"blank", [] { return std::string(" \n"); }, "no root"},
    {"not_xml", [] { return std::string("WithoutFreeSpace"); }, "outside"},
    {"nul", [] { return Document().text() + std::string(1, '\0'); }, "NUL"},
    {"too_large", [] { return Document().text() + std::string(kMaxFileBytes, ' '); }, "too large"},
    {"truncated", [] { return Document().text().substr(0, 400); }, ""},
    {"unclosed_tag", [] { return Document().text() + "<a"; }, "inside a tag"},
    {"two_roots", [] { return Document().text() + "<a/>"; }, "two root"},
    {"text_after_root", [] { return Document().text() + "x"; }, "outside"},
    {"mismatched_end", [] { return std::string("<a><b></a></b>"); }, ""},
    {"entity_bomb", entity_bomb, "document type"},
    {"doctype",
     [] {
       return "<!DOCTYPE x SYSTEM \"file:///etc/passwd\">" + with([](Document& d) { d.prolog.clear(); });
     },
     "document type"},
    {"doctype_inside", [] { return with([](Document& d) { d.parameters += "<!DOCTYPE x>"; }); },
     "document type"},
    {"entity", [] { return with([](Document& d) { d.images = image(kTop, "&file;"); }); }, "entities"},
    {"entity_in_attribute", [] { return with([](Document& d) { d.parameters += "<a b='&x;'/>"; }); },
     "entities"},
    {"tag_in_attribute", [] { return with([](Document& d) { d.parameters += "<a b='<!--'/>"; }); },
     "inside a tag"},
    {"utf16", [] { return std::string("\xff\xfe<\0a\0/\0>\0", 10); }, "NUL"},
    {"utf16_without_nul", [] { return std::string("\xfe\xff\x3c\x61\x3c\x62"); }, ""},
    {"strange_encoding",
     [] { return with([](Document& d) { d.prolog = "<?xml version='1.0' encoding='UTF-7'?>"; }); },
     "encoding"},
    {"many_nodes", [] { return with([](Document& d) { d.parameters += repeat("<a/>", 300000); }); },
     "too many"},
    {"many_nodes_below_the_scan_limit",
     [] { return with([](Document& d) { d.parameters += repeat("<a/>", 150000); }); }, "too many"},
    {"many_attributes",
     [] { return with([](Document& d) { d.parameters += "<a" + repeat(" b=''", 200000) + "/>"; }); },
     "too many"},
    {"deep", [] { return with([](Document& d) { d.parameters += repeat("<a>", 20) + repeat("</a>", 20); }); },
     "deeply"},
    {"very_deep",
     [] { return with([](Document& d) { d.parameters += repeat("<a>", 90000) + repeat("</a>", 90000); }); },
     "deeply"},

    {"no_parameters", [] { return without("Disk_Parameters"); }, "Disk_Parameters"},
    {"no_storage_data", [] { return without("StorageData"); }, "StorageData"},
    {"no_storage", [] { return without("Storage"); }, "Storage"},
    {"no_snapshots", [] { return without("Snapshots"); }, "Snapshots"},
    {"no_images", [] { return with([](Document& d) { d.images.clear(); }); }, "No images"},
    {"no_blocksize", [] { return without("Blocksize"); }, "blocksize"},
    {"two_sizes", [] { return with([](Document& d) { d.parameters += "<Disk_size>1</Disk_size>"; }); },
     "two elements"},
    {"two_tops", [] { return with([](Document& d) { d.snapshots += d.snapshots; }); }, "two elements"},

    {"size_2_63",
     [] { return with([](Document& d) { d.parameters = "<Disk_size>9223372036854775808</Disk_size>"; }); },
     "too large"},
    {"size_2_63_bytes",
     [] { return with([](Document& d) { d.parameters = "<Disk_size>18014398509481984</Disk_size>"; }); },
     "too large"},
    {"size_2_64",
     [] { return with([](Document& d) { d.parameters = "<Disk_size>18446744073709551616</Disk_size>"; }); },
     "no number"},
    {"size_negative", [] { return with([](Document& d) { d.parameters = "<Disk_size>-1</Disk_size>"; }); },
     "no number"},
    {"size_with_unit", [] { return with([](Document& d) { d.parameters = "<Disk_size>10G</Disk_size>"; }); },
     "no number"},
    {"size_empty", [] { return with([](Document& d) { d.parameters = "<Disk_size/>"; }); }, "no number"},
    {"size_with_element",
     [] { return with([](Document& d) { d.parameters = "<Disk_size>1<b/></Disk_size>"; }); },
     "an element inside"},
    {"delta_limit_2_63",
     [] {
       return with(
           [](Document& d) { d.parameters += "<Max_delta_size>9223372036854775808</Max_delta_size>"; });
     },
     "too large"},
    {"cylinders_64_bit",
     [] { return with([](Document& d) { d.parameters = "<Cylinders>4294967296</Cylinders>"; }); },
     "too large"},
    {"padded", [] { return with([](Document& d) { d.parameters = "<Padding>1</Padding>"; }); }, "padded"},
    {"blocksize_zero", [] { return with([](Document& d) { d.storage = "<Blocksize>0</Blocksize>"; }); },
     "blocksize"},
    {"blocksize_504", [] { return with([](Document& d) { d.storage = "<Blocksize>504</Blocksize>"; }); },
     "blocksize"},
    {"blocksize_small", [] { return with([](Document& d) { d.storage = "<Blocksize>32</Blocksize>"; }); },
     "blocksize"},
    {"blocksize_large", [] { return with([](Document& d) { d.storage = "<Blocksize>262144</Blocksize>"; }); },
     "blocksize"},
    {"blocksize_wraps",
     [] { return with([](Document& d) { d.storage = "<Blocksize>4294969344</Blocksize>"; }); }, "too large"},
    {"preallocated_2",
     [] { return with([](Document& d) { d.storage += "<Preallocated>2</Preallocated>"; }); }, "Preallocated"},
    {"preallocated_yes",
     [] { return with([](Document& d) { d.storage += "<Preallocated>yes</Preallocated>"; }); },
     "Preallocated"},
    {"preallocated_raw",
     [] {
       return with([](Document& d) {
         d.storage += "<Preallocated>1</Preallocated>";
         d.images = image(kTop, "a", "Plain");
       });
     },
     "Preallocated"},

    {"image_without_uuid",
     [] { return with([](Document& d) { d.images = "<Image><File>a</File></Image>"; }); }, "GUID"},
    {"image_bad_uuid", [] { return with([](Document& d) { d.images = image("{123}", "a"); }); }, "uuid"},
    {"image_uuid_with_escape", [] { return with([](Document& d) { d.images = image("\x1b[31m", "a"); }); },
     "uuid"},
    {"image_none_uuid", [] { return with([](Document& d) { d.images = image(kNone, "a"); }); }, "reserved"},
    {"image_without_file",
     [] { return with([](Document& d) { d.images = "<Image><GUID>" + kTop + "</GUID></Image>"; }); }, "File"},
    {"image_empty_file", [] { return with([](Document& d) { d.images = image(kTop, ""); }); }, "empty"},
    {"image_long_file",
     [] { return with([](Document& d) { d.images = image(kTop, std::string(5000, 'a')); }); }, "too long"},
    {"image_file_with_newline", [] { return with([](Document& d) { d.images = image(kTop, "a&#10;b"); }); },
     "control"},
    {"image_file_with_escape", [] { return with([](Document& d) { d.images = image(kTop, "a\x1b[2Jb"); }); },
     "control"},
    {"image_uuid_twice", [] { return with([](Document& d) { d.images += image(kTop, "b"); }); },
     "Two images"},
    {"image_file_twice",
     [] {
       return with([](Document& d) {
         d.images = image(kA, "a") + image(kTop, "a");
         d.shots = shot(kA, kNone) + shot(kTop, kA);
       });
     },
     "Two images"},
    {"not_an_image_behind_the_images", [] { return with([](Document& d) { d.images += "<Note>x</Note>"; }); },
     "GUID"},

    {"shot_twice",
     [] {
       return with([](Document& d) {
         d.images += image(kA, "b");
         d.shots += shot(kTop, kA);
       });
     },
     "Two snapshots"},
    {"shot_without_parent",
     [] { return with([](Document& d) { d.shots = "<Shot><GUID>" + kTop + "</GUID></Shot>"; }); },
     "ParentGUID"},
    {"shot_bad_parent", [] { return with([](Document& d) { d.shots = shot(kTop, "base"); }); }, "uuid"},
    {"shot_without_image",
     [] {
       return with([](Document& d) {
         d.images += image(kA, "b");
         d.shots += shot(kB, kTop);
       });
     },
     "in no snapshot"},
    {"more_shots_than_images", [] { return with([](Document& d) { d.shots += shot(kA, kTop); }); },
     "1 images"},
    {"two_shots_missing",
     [] { return with([](Document& d) { d.images += image(kA, "b") + image(kB, "c"); }); }, "3 images"},
    {"unknown_parent",
     [] {
       return with([](Document& d) {
         d.images += image(kA, "b") + image(kB, "c");
         d.shots += shot(kA, kC) + shot(kB, kTop);
       });
     },
     "does not exist"},
    {"own_parent",
     [] {
       return with([](Document& d) {
         d.images += image(kA, "b");
         d.shots += shot(kA, kA);
       });
     },
     "cycle"},
    {"cycle",
     [] {
       return with([](Document& d) {
         d.images += image(kA, "b") + image(kB, "c");
         d.shots += shot(kA, kB) + shot(kB, kA);
       });
     },
     "cycle"},
    {"no_base", [] { return with([](Document& d) { d.shots = shot(kTop, kTop); }); }, "0 base"},
    {"two_bases",
     [] {
       return with([](Document& d) {
         d.images += image(kA, "b");
         d.shots += shot(kA, kNone);
       });
     },
     "2 base"},
    {"chain_too_long", [] { return chain_of(129); }, "too long"},
    {"top_unknown", [] { return with([](Document& d) { d.snapshots = "<TopGUID>" + kA + "</TopGUID>"; }); },
     "does not exist"},
    {"top_empty", [] { return with([](Document& d) { d.snapshots = "<TopGUID/>"; }); }, "uuid"},
    {"top_bad", [] { return with([](Document& d) { d.snapshots = "<TopGUID>top</TopGUID>"; }); }, "uuid"},
    {"top_temporary", [] { return with([](Document& d) { d.shots = shot(kTop, kNone, "<Temporary/>"); }); },
     "temporary"},
    {"top_missing",
     [] {
       return with([](Document& d) {
         d.images = image(kA, "a");
         d.snapshots.clear();
         d.shots = shot(kA, kNone);
       });
     },
     "top uuid"},

    {"volume",
     [] { return with([](Document& d) { d.before_storage = "<Volume><Parent>x</Parent></Volume>"; }); },
     "volumes"},
    {"split",
     [] { return with([](Document& d) { d.after_storage = "<Storage><Start>1</Start></Storage>"; }); },
     "split"},
    {"anything_behind_storage", [] { return with([](Document& d) { d.after_storage = "<Note/>"; }); },
     "split"},
    {"encrypted",
     [] {
       return with(
           [](Document& d) { d.parameters += "<Encryption><Engine>" + kA + "</Engine></Encryption>"; });
     },
     "encrypted"},
    {"unfinished_swap",
     [] { return with([](Document& d) { d.shots = shot(kTop, kNone, "<TemporaryZero/>"); }); }, "unfinished"},
    {"unfinished_swap_2",
     [] { return with([](Document& d) { d.shots = shot(kTop, kNone, "<TemporaryZeroSwap/>"); }); },
     "unfinished"},
};

class HostileDescriptor : public ::testing::TestWithParam<Row> {};

TEST_P(HostileDescriptor, IsRefused) {
  const auto disk = parse(GetParam().text(), "/vz/disk");
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().code, ExitCode::Lock);
  const std::string message = disk.error().message();
  EXPECT_NE(message.find(GetParam().says), std::string::npos) << message;
  EXPECT_TRUE(std::none_of(message.begin(), message.end(), [](unsigned char c) { return c < 0x20; }))
      << message;
  EXPECT_LT(message.size(), 300u);
}

INSTANTIATE_TEST_SUITE_P(Rows, HostileDescriptor, ::testing::ValuesIn(kRows),
                         [](const ::testing::TestParamInfo<Row>& row) {
                           return std::string(row.param.name);
                         });

TEST(LongChain, IsReadUpToTheLimit) {
  const auto disk = parse(chain_of(128), "/vz/disk");
  ASSERT_TRUE(disk) << disk.error().message();
  const auto chain = disk->chain(kTop);
  ASSERT_TRUE(chain);
  EXPECT_EQ(chain->size(), 128u);
  EXPECT_EQ(chain->front(), "/vz/disk/f1");
}

}  // namespace
}  // namespace ploop::descriptor
