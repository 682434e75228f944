#include "control/json.hpp"

#include <gtest/gtest.h>

namespace ploop::control {
namespace {

TEST(JsonText, RefusesWhatIsNoObjectOrTooDeepOrRepeatsNames) {
  for (const char* text : {"", "1", "[]", "{", "{\"a\":1,}", "nul", "{\"a\":1}x", "{\"a\":1,\"a\":2}",
                           "\xff\xfe", "{\"a\":{\"b\":1,\"b\":1}}", "{\"a\":1e999}"}) {
    const Result<Json> parsed = parse_object(text, "test");
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ExitCode::Protocol) << text;
  }
  EXPECT_FALSE(parse_object(std::string(100'000, '['), "test"));
  EXPECT_FALSE(parse_object("{\"a\":" + std::string(100'000, '{'), "test"));
}

TEST(JsonText, TakesTheSameNameInDifferentObjects) {
  EXPECT_TRUE(parse_object(R"({"a":{"a":1},"b":{"a":2}})", "test"));
  EXPECT_TRUE(parse_object(R"({"a":[{"a":1},{"a":2}]})", "test"));
}

TEST(JsonText, DepthIgnoresBracketsInStrings) {
  EXPECT_EQ(nesting_depth(R"({"a":"[[[[\"[[["})"), 1u);
  EXPECT_EQ(nesting_depth(R"({"a":[[1],[2]]})"), 3u);
}

TEST(JsonBytes, EveryFileNameSurvives) {
  for (const std::string& name :
       {std::string("/plain"), std::string("/sp ace\n\"quote\\"), std::string("/\xc3\xa4"),
        std::string("/\xe4\xff latin"), std::string("\x01\x7f\x80")}) {
    const Json written = bytes_to_json(name);
    const Result<Json> line = parse_object(to_line(Json{{"n", written}}), "test");
    ASSERT_TRUE(line);
    const Result<std::string> back = bytes_from_json((*line)["n"], "n");
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, name);
  }
}

TEST(JsonBytes, RefusesOtherShapes) {
  for (const char* text :
       {R"({"n":1})", R"({"n":{"hex":"abc"}})", R"({"n":{"hex":"zz"}})", R"({"n":{"hex":1}})",
        R"({"n":{"hex":"61","x":1}})", R"({"n":"a\u0000b"})", R"({"n":{"hex":"00"}})"}) {
    const Result<Json> line = parse_object(text, "test");
    ASSERT_TRUE(line) << text;
    EXPECT_FALSE(bytes_from_json((*line)["n"], "n")) << text;
  }
}

TEST(JsonFields, RefuseWrongTypesAndNumbersThatDoNotFit) {
  const Result<Json> json =
      parse_object(R"({"s":"x","n":-1,"big":18446744073709551615,"f":1.5,"b":true,"k":70000})", "test");
  ASSERT_TRUE(json);
  EXPECT_FALSE(string_field(*json, "n"));
  EXPECT_FALSE(string_field(*json, "absent"));
  EXPECT_FALSE(unsigned_field(*json, "n"));
  EXPECT_FALSE(signed_field(*json, "big"));
  EXPECT_FALSE(signed_field(*json, "f"));
  EXPECT_FALSE(bool_field(*json, "n"));
  EXPECT_FALSE(number_field<std::uint16_t>(*json, "k"));
  EXPECT_FALSE(number_field<std::uint32_t>(*json, "n"));
  EXPECT_EQ(unsigned_field(*json, "big").value(), 18446744073709551615u);
  EXPECT_EQ(number_field<int>(*json, "k").value(), 70000);
  EXPECT_FALSE(only_fields(*json, {"s", "n"}, "test"));
}

}  // namespace
}  // namespace ploop::control
