#include "daemon/handover.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/device.hpp"

namespace ploop::daemon {
namespace {

Handover sample() {
  Handover h;
  h.program = "1.2.3";
  h.spec.deltas = {{"/disk/base", control::ImageKind::Raw, true},
                   {"/disk/top \xff", control::ImageKind::Ploop1, false}};
  h.spec.component = "x";
  h.state.number = 7;
  h.state.guardian_pid = 42;
  h.state.deltas = h.spec.deltas;
  h.state.can_resend = true;
  h.side = "{\"device\":5,\"mount\":6}";
  h.keeper_pid = 43;
  h.keeper_channel = 10;
  h.lock = 11;
  h.map = 12;
  h.control_socket = 13;
  h.admin_socket = 14;
  h.asker = -1;
  h.request = 3;
  h.files = {16, -1};
  h.previous = 15;
  h.failed = "why \"so\"";
  return h;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Handover, ComesBackAsItWas) {
  const Result<Handover> back = decode_handover(encode_handover(sample()));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->program, "1.2.3");
  EXPECT_EQ(back->spec, sample().spec);
  EXPECT_EQ(back->state, sample().state);
  EXPECT_EQ(back->side, sample().side);
  EXPECT_EQ(back->keeper_pid, 43);
  EXPECT_EQ(back->asker, -1);
  EXPECT_EQ(back->files, sample().files);
  EXPECT_EQ(back->previous, 15);
  EXPECT_EQ(back->failed, sample().failed);
}

TEST(Handover, AProgramThatKnowsNoFilesIsTakenOver) {
  const Result<Handover> back =
      decode_handover(replaced(encode_handover(sample()), "\"files\":[16,-1],", ""));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_TRUE(back->files.empty());
  EXPECT_FALSE(decode_handover(replaced(encode_handover(sample()), "[16,-1]", "[16,\"x\"]")));
}

TEST(Handover, AnotherFormatOrLayoutOfTheMapIsRefused) {
  const std::string text = encode_handover(sample());
  EXPECT_FALSE(decode_handover(replaced(text, "\"format\":1", "\"format\":2")));
  const std::string layout = std::to_string(engine::Device::map_layout());
  EXPECT_FALSE(decode_handover(replaced(text, layout, "1" + layout.substr(1))));
}

TEST(Handover, BrokenTextsAreRefused) {
  const std::string text = encode_handover(sample());
  for (std::size_t length = 0; length < text.size(); length += 7)
    EXPECT_FALSE(decode_handover(text.substr(0, length)));
  for (const char* member : {"lock", "spec", "state", "side", "keeper_pid", "previous"}) {
    EXPECT_FALSE(decode_handover(replaced(text, std::string("\"") + member + "\":", "\"other\":"))) << member;
  }
}

TEST(Handover, AProgramThatIsAskedAnswersWithItsVersionOrAnError) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd reading{ends[0]};
  Fd writing{ends[1]};
  const Result<Fd> good = handover_file(sample());
  ASSERT_TRUE(good);
  EXPECT_EQ(answer_can_take_over(good->get(), writing.get(), "9.9"), 0);
  EXPECT_EQ(answer_can_take_over(reading.get(), writing.get(), "9.9"), 1) << "not a file";
  writing.reset();
  const Result<std::string> text = read_all(reading.get(), 4096, "answer");
  ASSERT_TRUE(text);
  EXPECT_EQ(text->find("{\"program\":\"9.9\"}\n{\"error\":"), 0u) << *text;
}

}  // namespace
}  // namespace ploop::daemon
