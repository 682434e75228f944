// Attach orders, states and control messages as text.
#include <gtest/gtest.h>

#include "control/attach_spec.hpp"
#include "control/chain_messages.hpp"
#include "control/device_state.hpp"
#include "control/protocol.hpp"
#include "control/shrink_messages.hpp"
#include "control/track_messages.hpp"

namespace ploop::control {
namespace {

AttachSpec three_images() {
  AttachSpec spec;
  spec.device_number = 7;
  spec.deltas = {{"/vz/base\xff", ImageKind::Raw, true},
                 {"/vz/mid", ImageKind::Ploop1, true},
                 {"/vz/top", ImageKind::Ploop1, false}};
  spec.raw_cluster_sectors = 128;
  spec.component = "backup";
  spec.descriptor = "/vz/DiskDescriptor.xml";
  spec.on_enospc = OnEnospc::Fail;
  spec.require_sandbox = true;
  return spec;
}

DeviceState some_state() {
  DeviceState state;
  state.number = 3;
  state.guardian_pid = 10;
  state.guardian_start = 18446744073709551615u;
  state.worker_pid = 11;
  state.backing_device = "/dev/loop5";
  state.major = 7;
  state.minor = 5;
  state.size_sectors = 1u << 30;
  state.cluster_sectors = 2048;
  state.deltas = three_images().deltas;
  state.component = "c";
  state.transport = "fuse";
  state.can_resize = false;
  state.can_resend = true;
  state.sandbox = {"capabilities", "seccomp"};
  state.sandbox_required = true;
  state.on_enospc = OnEnospc::Fail;
  return state;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what << " in " << text;
  return at == std::string::npos ? text : text.replace(at, what.size(), with);
}

TEST(Outcome, SurvivesTheWay) {
  EXPECT_EQ(encode_outcome({}), "{}");
  EXPECT_TRUE(decode_outcome(encode_outcome({})));
  const Status back = decode_outcome(encode_outcome(fail(errno_error(ExitCode::Fsync, 5, "flush"))));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, ExitCode::Fsync);
  EXPECT_EQ(back.error().sys_errno, 5);
}

TEST(AttachSpecText, SurvivesTheRoundTrip) {
  const AttachSpec spec = three_images();
  const std::string text = encode_attach_spec(spec);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  const Result<AttachSpec> back = decode_attach_spec(text);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, spec);
}

TEST(AttachSpecText, RefusesUnknownAndMissingFields) {
  const std::string text = encode_attach_spec(three_images());
  EXPECT_FALSE(decode_attach_spec(replaced(text, "\"transport\"", "\"transpart\"")));
  EXPECT_FALSE(decode_attach_spec(replaced(text, "\"on_enospc\":\"fail\"", "\"on_enospc\":\"maybe\"")));
  EXPECT_FALSE(decode_attach_spec(replaced(text, "\"kind\":\"raw\"", "\"kind\":\"qcow2\"")));
  EXPECT_FALSE(decode_attach_spec(replaced(text, "{", "{\"extra\":1,")));
  EXPECT_FALSE(decode_attach_spec("{}"));
}

TEST(AttachSpecText, MentionsTheSandboxOnlyWhenItIsRequired) {
  AttachSpec spec = three_images();
  spec.require_sandbox = false;
  const std::string text = encode_attach_spec(spec);
  EXPECT_EQ(text.find("require_sandbox"), std::string::npos)
      << "a daemon that does not know it need not refuse";
  EXPECT_FALSE(decode_attach_spec(text)->require_sandbox);
}

TEST(PermissionText, SurvivesTheRoundTripAndRefusesTheRest) {
  const Permission permission{
      {{"/vz/new\xff", ImageKind::Ploop1, false}}, true, {"/vz/.staged", "/vz/DiskDescriptor.xml"}};
  const std::string text = encode_permission(permission);
  const Result<Permission> back = decode_permission(text);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, permission);
  EXPECT_FALSE(decode_permission("{}"));
  EXPECT_FALSE(decode_permission(replaced(text, "{", "{\"extra\":1,")));
  EXPECT_FALSE(decode_permission(replaced(text, "/vz/.staged", "/etc/.staged")))
      << "a rename between directories";
  EXPECT_FALSE(decode_permission(encode_permission({{{"relative", ImageKind::Raw, true}}, false, {}})));
}

struct BrokenLimit {
  const char* name;
  void (*damage)(AttachSpec&);
};

class AttachSpecLimits : public testing::TestWithParam<BrokenLimit> {};

TEST_P(AttachSpecLimits, AreKept) {
  AttachSpec spec = three_images();
  GetParam().damage(spec);
  const Result<AttachSpec> back = decode_attach_spec(encode_attach_spec(spec));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, ExitCode::Param);
}

INSTANTIATE_TEST_SUITE_P(
    All, AttachSpecLimits,
    testing::Values(
        BrokenLimit{"NoImage", [](AttachSpec& s) { s.deltas.clear(); }},
        BrokenLimit{"TooMany",
                    [](AttachSpec& s) { s.deltas.insert(s.deltas.begin() + 1, kMaxDeltas, s.deltas[1]); }},
        BrokenLimit{"RelativePath", [](AttachSpec& s) { s.deltas[1].path = "mid"; }},
        BrokenLimit{"EmptyPath", [](AttachSpec& s) { s.deltas[1].path = ""; }},
        BrokenLimit{"RawAboveBase", [](AttachSpec& s) { s.deltas[1].kind = ImageKind::Raw; }},
        BrokenLimit{"WritableBelow", [](AttachSpec& s) { s.deltas[0].read_only = false; }},
        BrokenLimit{"TopNotWritable", [](AttachSpec& s) { s.deltas[2].read_only = true; }},
        BrokenLimit{"WritableTopOfReadOnly", [](AttachSpec& s) { s.read_only = true; }},
        BrokenLimit{"NumberTooBig", [](AttachSpec& s) { s.device_number = kMaxDeviceNumber + 1; }},
        BrokenLimit{"NumberTooSmall", [](AttachSpec& s) { s.device_number = -2; }},
        BrokenLimit{"LongComponent",
                    [](AttachSpec& s) { s.component.assign(kMaxComponentLength + 1, 'c'); }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(DeviceStateText, SurvivesTheRoundTrip) {
  const Result<DeviceState> back = decode_device_state(encode_device_state(some_state()));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, some_state());
}

TEST(DeviceStateText, TellsWhichFilesTheImagesAreWhenAllAreKnown) {
  DeviceState state = some_state();
  state.place = FileId{1, 2};
  for (std::size_t level = 0; level < state.deltas.size(); ++level)
    state.deltas[level].file = FileId{18446744073709551615u, level};
  const std::string text = encode_device_state(state);
  const Result<DeviceState> back = decode_device_state(text);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, state);
  EXPECT_FALSE(decode_device_state(replaced(text, "\"files\":[[18446744073709551615,0],", "\"files\":[")));
  EXPECT_FALSE(
      decode_device_state(replaced(text, "\"files\":[[18446744073709551615,0]", "\"files\":[[-1,0]")));
  state.deltas[1].file.reset();
  EXPECT_EQ(encode_device_state(state).find("\"files\""), std::string::npos);
}

TEST(ChainStateText, NamesTheLevelsThatAreFresh) {
  ChainState state{three_images().deltas, false, 2048, {}, {0, 2}};
  const std::string text = encode_chain_state(state);
  const Result<ChainState> back = decode_chain_state(text);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->fresh, state.fresh);
  EXPECT_FALSE(decode_chain_state(replaced(text, "[0,2]", "[0,3]")));
  EXPECT_FALSE(decode_chain_state(replaced(text, "[0,2]", "[-1]")));
}

TEST(DeviceStateText, RefusesTruncatedText) {
  const std::string text = encode_device_state(some_state());
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(decode_device_state(text.substr(0, length))) << length;
  }
}

TEST(ControlRequest, SurvivesTheRoundTrip) {
  const std::string line = encode_request({42, "detach", R"({"force":true})"});
  ASSERT_EQ(line.back(), '\n');
  const Result<Request> back = decode_request(std::string_view(line).substr(0, line.size() - 1));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, 42u);
  EXPECT_EQ(back->method, "detach");
  EXPECT_EQ(back->params, R"({"force":true})");
}

TEST(ControlRequest, RefusesMalformedLines) {
  for (const char* line :
       {"", "{}", "[]", R"({"id":1})", R"({"method":"ping"})", R"({"id":"1","method":"ping"})",
        R"({"id":-1,"method":"ping"})", R"({"id":1,"method":7})", R"({"id":1,"method":"ping","params":[]})",
        R"({"id":1,"method":"ping","extra":0})", "\x00\x01\x02"}) {
    const Result<Request> request = decode_request(line);
    ASSERT_FALSE(request) << line;
    EXPECT_EQ(request.error().code, ExitCode::Protocol) << line;
  }
  EXPECT_FALSE(decode_request(R"({"id":1,"method":")" + std::string(kMaxLine, 'x') + "\"}"));
}

TEST(ControlReply, CarriesResultOrTheDevicesOwnError) {
  const Result<Reply> good = decode_reply(encode_result(5, R"({"x":1})"));
  ASSERT_TRUE(good);
  EXPECT_EQ(good->id, 5u);
  EXPECT_EQ(good->result, R"({"x":1})");

  const Result<Reply> bad = decode_reply(encode_error(5, Error{ExitCode::Fsync, EIO, "flush \"x\"\n"}));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, ExitCode::Fsync);
  EXPECT_EQ(bad.error().sys_errno, EIO);
  EXPECT_EQ(bad.error().what, "flush \"x\"\n");

  EXPECT_TRUE(decode_reply(R"({"id":5,"event":{"done":1}})")->is_event);
  for (const char* line :
       {R"({"id":1})", R"({"id":1,"error":{}})", R"({"id":1,"error":{"code":0,"errno":0,"message":""}})",
        R"({"id":1,"error":{"code":300,"errno":0,"message":""}})", R"({"result":{}})"}) {
    const Result<Reply> reply = decode_reply(line);
    ASSERT_FALSE(reply) << line;
    EXPECT_EQ(reply.error().code, ExitCode::Protocol) << line;
  }
}

TEST(ControlStats, SurviveTheRoundTrip) {
  DeviceStats stats;
  stats.reads = 1;
  stats.written_bytes = 1ull << 60;
  stats.failed = true;
  stats.waits_for_space = true;
  const Result<DeviceStats> back = decode_stats(encode_stats(stats));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->reads, 1u);
  EXPECT_EQ(back->written_bytes, 1ull << 60);
  EXPECT_TRUE(back->failed);
  EXPECT_TRUE(back->waits_for_space);
  std::string older = encode_stats(stats);
  older = replaced(older, ",\"waits_for_space\":true", "");
  ASSERT_TRUE(decode_stats(older));
  EXPECT_FALSE(decode_stats(older)->waits_for_space) << "a daemon that does not tell";
}

TEST(TrackTexts, SurviveTheRoundTrip) {
  const TrackStart start{1ull << 40, 4096, 18446744073709551615u, 7};
  EXPECT_EQ(decode_track_start(encode_track_start(start)).value(), start);
  EXPECT_EQ(decode_track_set(encode_track_set(1ull << 63)).value(), 1ull << 63);
  TrackBatch batch{{{0, 4096}, {8192, 1ull << 62}}, 5, 6, true};
  EXPECT_EQ(decode_track_batch(encode_track_batch(batch)).value(), batch);
  batch = {{}, 0, 0, false};
  EXPECT_EQ(decode_track_batch(encode_track_batch(batch)).value(), batch);
}

TEST(TrackTexts, RefuseWhatIsNoExtent) {
  const std::string good = encode_track_batch({{{0, 4096}}, 1, 2, true});
  ASSERT_TRUE(decode_track_batch(good));
  for (const char* wrong :
       {"[4096,4096]", "[8192,4096]", "[-1,4096]", "[0]", "[0,1,2]", "[0.5,2]", "\"0\"", "{}", "null"}) {
    const auto decoded = decode_track_batch(replaced(good, "[0,4096]", wrong));
    ASSERT_FALSE(decoded) << wrong;
    EXPECT_EQ(decoded.error().code, ExitCode::Protocol);
  }
  EXPECT_FALSE(decode_track_batch(replaced(good, "[[0,4096]]", "7")));
  EXPECT_FALSE(decode_track_batch(replaced(good, "\"used\"", "\"usid\"")));
  EXPECT_FALSE(decode_track_set("{\"position\":-1}"));
  EXPECT_FALSE(decode_track_set("{\"position\":1,\"more\":1}"));
}

TEST(TrackTexts, FitIntoOneAnswer) {
  TrackBatch batch{{}, ~0ull, ~0ull, true};
  for (std::size_t i = 0; i < kMaxTrackExtents; ++i)
    batch.extents.push_back({(1ull << 63) + 2 * i, (1ull << 63) + 2 * i + 1});
  EXPECT_LT(encode_track_batch(batch).size(), 64u * 1024);
  EXPECT_TRUE(decode_track_batch(encode_track_batch(batch)));
  batch.extents.push_back({1, 2});
  EXPECT_FALSE(decode_track_batch(encode_track_batch(batch)));
}

TEST(ShrinkTexts, ComeBackTheSameAndNothingElseIsTaken) {
  const DiscardRange range{1ull << 40, ~0ull, true};
  EXPECT_EQ(*decode_discard(encode_discard(range)), range);
  EXPECT_EQ(*decode_compact(encode_compact(~0ull)), ~0ull);
  EXPECT_EQ(*decode_discarded(encode_discarded(7)), 7u);
  const CompactStep step{1, 2, 3, 1048576};
  EXPECT_EQ(*decode_compact_step(encode_compact_step(step)), step);
  for (const char* text : {"{}", "{\"offset\":1}", "{\"offset\":1,\"length\":-1}",
                           "{\"offset\":1,\"length\":2,\"dry\":false,\"x\":0}",
                           "{\"offset\":1,\"length\":2,\"dry\":1}", "[]", "7"}) {
    const auto decoded = decode_discard(text);
    ASSERT_FALSE(decoded) << text;
    EXPECT_EQ(decoded.error().code, ExitCode::Protocol);
  }
  EXPECT_FALSE(decode_compact("{\"most\":\"all\"}"));
  EXPECT_FALSE(decode_compact_step("{\"moved\":1}"));
}

}  // namespace
}  // namespace ploop::control
