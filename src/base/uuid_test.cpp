#include "base/uuid.hpp"

#include <gtest/gtest.h>

namespace ploop {
namespace {

TEST(Uuid, AcceptsBracedAndAddsMissingBraces) {
  EXPECT_EQ(parse_uuid("5FBAABE3-6958-40ff-92a7-860e329aab41"), "{5FBAABE3-6958-40ff-92a7-860e329aab41}");
  EXPECT_EQ(parse_uuid(kTopUuid), std::string(kTopUuid));
  for (const char* bad : {"", "base", "{5fbaabe3-6958-40ff-92a7-860e329aab41",
                          "5fbaabe3x6958-40ff-92a7-860e329aab41", "{gfbaabe3-6958-40ff-92a7-860e329aab41}"}) {
    EXPECT_FALSE(parse_uuid(bad)) << bad;
  }
}

TEST(Uuid, ComparesWithoutCase) {
  EXPECT_TRUE(same_uuid("{5FBAABE3-6958-40FF-92A7-860E329AAB41}", kTopUuid));
  EXPECT_FALSE(same_uuid(kNoUuid, kTopUuid));
}

TEST(Uuid, GeneratedOnesAreRandomVersionFour) {
  const std::string a = generate_uuid();
  EXPECT_TRUE(is_uuid(a));
  EXPECT_EQ(a[15], '4');
  EXPECT_NE(a, generate_uuid());
}

}  // namespace
}  // namespace ploop
