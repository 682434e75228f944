#include "support.hpp"

#include <sha256.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

#include "base/subprocess.hpp"
#include "io/posix_file.hpp"

namespace ploop::golden {
namespace {

class Sha256 {
 public:
  Sha256() { SHA256_Init(&context_); }
  void add(std::span<const std::byte> bytes) {
    SHA256_Update(&context_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  std::string text() {
    std::uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_Final(digest, &context_);
    std::string hex;
    for (const std::uint8_t byte : digest) {
      constexpr char kDigits[] = "0123456789abcdef";
      hex += kDigits[byte >> 4];
      hex += kDigits[byte & 15];
    }
    return hex;
  }

 private:
  SHA2_CTX context_;
};

constexpr std::uint64_t kPiece = kMiB;

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "ploop-golden-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Status unpack(const std::string& packed, const std::string& target) {
  const std::string suffix = std::filesystem::path(packed).extension();
  const std::string work = target + suffix;
  std::filesystem::copy_file(packed, work);
  std::filesystem::permissions(work, std::filesystem::perms::owner_all);
  const std::string program = suffix == ".bz2" ? "bzip2" : "xz";
  TRY(run_checked({program, "-d", work}, ExitCode::System));
  return {};
}

Result<std::unique_ptr<io::BlockFile>> open_path(const std::string& path, bool writable) {
  return std::unique_ptr<io::BlockFile>(
      TRY(io::PosixFile::open(path, {.writable = writable, .direct = false, .exclusive_create = false})));
}

std::string sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.text();
}

Result<std::string> sha256_of_file(const std::string& path) {
  const auto file = TRY(open_path(path, false));
  const std::uint64_t size = TRY(io::file_size(*file));
  std::vector<std::byte> piece(kPiece);
  Sha256 hash;
  for (std::uint64_t offset = 0; offset < size; offset += kPiece) {
    const auto part = std::span(piece).first(std::min(kPiece, size - offset));
    TRY(io::read_exact(*file, part, offset, "file"));
    hash.add(part);
  }
  return hash.text();
}

Result<std::string> sha256_of_guest(const image::Stack& stack) {
  std::vector<std::byte> piece(kPiece);
  Sha256 hash;
  for (std::uint64_t offset = 0; offset < stack.size_bytes(); offset += kPiece) {
    const auto part = std::span(piece).first(std::min(kPiece, stack.size_bytes() - offset));
    TRY(stack.read(offset, part));
    hash.add(part);
  }
  return hash.text();
}

}  // namespace ploop::golden
