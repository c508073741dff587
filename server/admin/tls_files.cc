#include "server/admin/tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "core/base/files.h"
#include "core/base/log.h"

namespace engram::server {
namespace {

constexpr size_t kMostBytes = 1 << 20;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

Bio Open(const std::string& pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

absl::StatusOr<std::string> ReadPem(const char* key, const std::string& path) {
  absl::StatusOr<std::string> pem = ReadFile(path, kMostBytes);
  if (!pem.ok()) return InvalidField(key, "names a file that cannot be read, or is larger than 1 MiB");
  return pem;
}

}  // namespace

absl::StatusOr<TlsMaterial::Contents> TlsMaterial::Read(const TlsFiles& files) {
  // The end of each file is an error to OpenSSL, which a handshake of this thread would take for its own.
  const auto forget = absl::MakeCleanup([] { ERR_clear_error(); });
  Contents contents;
  ENGRAM_ASSIGN_OR_RETURN(const std::string certificate, ReadPem("tls_certificate", files.certificate));
  const Bio from = Open(certificate);
  contents.certificate.reset(PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr));
  if (!contents.certificate) return InvalidField("tls_certificate", "names a file that is no certificate in PEM");
  contents.chain.reset(sk_X509_new_null());
  while (X509* next = PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr))
    sk_X509_push(contents.chain.get(), next);
  ENGRAM_ASSIGN_OR_RETURN(const std::string key, ReadPem("tls_key", files.key));
  // No pass phrase: nobody is there to type one.
  const auto no_phrase = [](char*, int, int, void*) { return 0; };
  contents.key.reset(PEM_read_bio_PrivateKey(Open(key).get(), nullptr, no_phrase, nullptr));
  if (!contents.key) return InvalidField("tls_key", "names a file that is no private key in PEM without a pass phrase");
  if (X509_check_private_key(contents.certificate.get(), contents.key.get()) != 1)
    return InvalidField("tls_key", "is the key of another certificate than tls_certificate's");
  if (files.client_ca.empty()) return contents;
  ENGRAM_ASSIGN_OR_RETURN(const std::string authorities, ReadPem("tls_client_ca", files.client_ca));
  contents.authorities.reset(X509_STORE_new());
  const Bio list = Open(authorities);
  int count = 0;
  while (X509* authority = PEM_read_bio_X509(list.get(), nullptr, nullptr, nullptr)) {
    X509_STORE_add_cert(contents.authorities.get(), authority);
    X509_free(authority);
    ++count;
  }
  if (count == 0) return InvalidField("tls_client_ca", "names a file that has no certificate in PEM");
  return contents;
}

TlsMaterial::Times TlsMaterial::ChangeTimes() const {
  const auto time_of = [](const std::string& path) {
    std::error_code missing;  // leaves the time at its least, another than that of any file
    return std::filesystem::last_write_time(path, missing);
  };
  return {time_of(files_.certificate), time_of(files_.key), time_of(files_.client_ca)};
}

absl::StatusOr<std::unique_ptr<TlsMaterial>> TlsMaterial::Load(TlsFiles files) {
  std::unique_ptr<TlsMaterial> material(new TlsMaterial(std::move(files)));
  absl::MutexLock lock(&material->mutex_);
  material->times_ = material->ChangeTimes();
  ENGRAM_ASSIGN_OR_RETURN(material->contents_, Read(material->files_));
  return material;
}

bool TlsMaterial::Apply(SSL* connection) {
  absl::MutexLock lock(&mutex_);
  if (const Times now = ChangeTimes(); now != times_) {
    times_ = now;
    if (absl::StatusOr<Contents> read = Read(files_); read.ok()) {
      contents_ = *std::move(read);
    } else {
      LogWarning("files of TLS were changed and cannot be used; those of before go on",
                 {{"detail", std::string(read.status().message())}});
    }
  }
  if (SSL_use_certificate(connection, contents_.certificate.get()) != 1 ||
      SSL_set1_chain(connection, contents_.chain.get()) != 1 ||
      SSL_use_PrivateKey(connection, contents_.key.get()) != 1)
    return false;
  if (!contents_.authorities) return true;
  SSL_set_verify(connection, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return SSL_set1_verify_cert_store(connection, contents_.authorities.get()) == 1;
}

}  // namespace engram::server
