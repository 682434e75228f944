// ploop check
#include "base/units.hpp"
#include "cli/commands.hpp"
#include "cli/finding_json.hpp"
#include "cli/progress_meter.hpp"
#include "cli/values.hpp"

namespace ploop::cli {

const CommandText kCheckText = {
    "check", "check and repair the structure of images",
    "check [-r] [-u UUID] [--json] DiskDescriptor.xml\n"
    "check [-f] [-F] [-c] [-r] [-s] [-d] [-R] [-b BLOCKSIZE] [-S] [--json] IMAGE",
    "Of a disk: every image from the base to the current state (or UUID) that was not\n"
    "closed properly is examined and repaired. Of a single image: as the options say.\n"
    "A disk or image that is attached is refused. The file system inside is not looked\n"
    "at: that is what 'ploop mount -F' is for.\n"
    "\n"
    "Options:\n"
    "  -u, --uuid UUID        disk: the snapshot to begin with\n"
    "  -f, --force            examine the image although it was closed properly\n"
    "  -F, --hard-force       as -f, and repair what loses data\n"
    "  -c, --check            look for clusters that are used twice or by nobody as well\n"
    "  -r, --ro               change nothing, report only\n"
    "  -s, --silent           don't mention that a clean image was skipped\n"
    "  -d, --drop-inuse       clear the in-use mark when the rest is right\n"
    "  -R, --raw              the image is raw (only -S does something then); needs -b\n"
    "  -b, --blocksize N      cluster size of a raw image in sectors\n"
    "  -S, --repair-sparse    fill the holes of the file, for old kernels that need it\n"
    "      --json             print what was found as JSON\n"
    "  -h, --help             this text\n"
    "\n"
    "Examples:\n"
    "  ploop check /srv/disk/DiskDescriptor.xml\n"
    "  ploop check -f -c -r root.hdd               look at everything, change nothing\n"
    "  ploop check -d root.hdd                     after a crash\n"};

Parsed<CheckArguments> parse_check(const Words& args) {
  CheckArguments result;
  ops::CheckRequest& request = result.request;
  image::CheckOptions& flags = request.flags;
  std::optional<std::string> uuid, blocksize;
  Arguments arguments(kCheckText);
  arguments.value("-u,--uuid", uuid);
  arguments.flag("-f,--force", flags.force);
  arguments.flag("-F,--hard-force", flags.hard_force);
  arguments.flag("-c,--check", flags.check);
  arguments.flag("-r,--ro", flags.read_only);
  arguments.flag("-s,--silent", flags.silent);
  arguments.flag("-d,--drop-inuse", flags.drop_in_use);
  arguments.flag("-R,--raw", flags.raw);
  arguments.value("-b,--blocksize", blocksize);
  arguments.flag("-S,--repair-sparse", flags.repair_sparse);
  arguments.flag("--json", result.json);
  const Words operands = PARSED(arguments.parse(args));
  if (operands.size() != 1) {
    return usage_error(
        kCheckText, operands.empty() ? "What to check is missing" : "There must be one disk or image only");
  }
  request.target = operands.front();
  if (uuid) request.uuid = PARSED(parse_uuid_option(*uuid));
  if (blocksize) flags.blocksize = PARSED(parse_blocksize(kCheckText, *blocksize)).value_or(0);
  if (flags.raw && flags.blocksize == 0) return value_error("Cluster blocksize required for raw image");
  result.ignored_flags = flags.force || flags.hard_force || flags.check || flags.silent ||
                         flags.drop_in_use || flags.raw || blocksize || flags.repair_sparse;
  return result;
}

namespace {

Json json_of(const image::CheckReport& report) {
  Json findings = Json::array();
  for (const image::Finding& f : report.findings)
    findings.push_back(finding_json(report, f));
  return {{"image", name_json(report.image)},
          {"exit_status", static_cast<int>(report.exit)},
          {"changed", report.changed},
          {"cluster_bytes", std::uint64_t{report.cluster_sectors} * kSectorSize},
          {"lost_clusters", report.lost_clusters},
          {"copied_clusters", report.copied_clusters},
          {"findings", std::move(findings)}};
}

std::string json_of(const ops::CheckOutcome& outcome) {
  Json images = Json::array();
  for (const image::CheckReport& report : outcome.reports)
    images.push_back(json_of(report));
  return json_text({{"exit_status", static_cast<int>(outcome.exit)}, {"images", std::move(images)}});
}

}  // namespace

ExitCode run_check(Console& console, const Words& args) {
  auto parsed = parse_check(args);
  if (!parsed) return stop(console, parsed.error());
  if (parsed->ignored_flags && descriptor::is_descriptor_name(parsed->request.target)) {
    console.message(LogLevel::Error, "WARNING: options are ignored for DiskDescriptor.xml form");
  }
  if (parsed->json) console.keep_stdout_for_data();
  ProgressMeter meter(console, "Checking");
  parsed->request.flags.progress = meter.callback();
  const auto outcome = ops::check(parsed->request);
  if (!outcome) return report(console, outcome.error());
  if (parsed->json) {
    if (const ExitCode printed = answer(console, json_of(*outcome)); printed != ExitCode::Ok) return printed;
  }
  return outcome->exit;
}

}  // namespace ploop::cli
