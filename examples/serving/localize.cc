// Localizes objects in image files with an exported SavedModel, without Python.
//
//   localize SAVED_MODEL IMAGE...
//
// prints one line a file: path, class id, score, x0, y0, x1, y1 in pixels, separated by
// tabs; "unreadable" instead of the figures where a file is no image.
//
// It links against the libraries of TensorFlow's pip wheel:
//
//   S=$(python -c "import tensorflow, os; print(os.path.dirname(tensorflow.__file__))")
//   g++ -std=c++17 -O1 localize.cc -o localize -I$S/include -L$S -Wl,--no-as-needed \
//       -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,$S

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session.h"

namespace {

const char kSignature[] = "serve_bytes";

bool ReadFile(const char* path, tensorflow::tstring* contents) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  *contents = std::string(std::istreambuf_iterator<char>(file), {});
  return true;
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s SAVED_MODEL IMAGE...\n", argv[0]);
    return 2;
  }
  const int count = argc - 2;
  tensorflow::Tensor images(tensorflow::DT_STRING, {count});
  for (int i = 0; i < count; ++i) {
    if (!ReadFile(argv[i + 2], &images.flat<tensorflow::tstring>()(i))) {
      std::fprintf(stderr, "cannot open %s\n", argv[i + 2]);
      return 1;
    }
  }

  tensorflow::SavedModelBundle bundle;
  absl::Status status = tensorflow::LoadSavedModel(
      tensorflow::SessionOptions(), tensorflow::RunOptions(), argv[1], {"serve"},
      &bundle);
  if (!status.ok()) return Fail(status);
  const auto& signature = bundle.GetSignatures().at(kSignature);
  const auto& outputs = signature.outputs();
  std::vector<tensorflow::Tensor> found;
  status = bundle.session->Run(
      {{signature.inputs().at("image_bytes").name(), images}},
      {outputs.at("class_ids").name(), outputs.at("scores").name(),
       outputs.at("boxes").name(), outputs.at("valid").name()},
      {}, &found);
  if (!status.ok()) return Fail(status);

  const auto class_ids = found[0].matrix<int32_t>();  // (B, K)
  const auto scores = found[1].matrix<float>();       // (B, K)
  const auto boxes = found[2].tensor<float, 3>();     // (B, K, 4)
  const auto valid = found[3].matrix<bool>();         // (B, K)
  for (int i = 0; i < count; ++i) {
    if (!valid(i, 0)) {
      std::printf("%s\tunreadable\n", argv[i + 2]);
      continue;
    }
    std::printf("%s\t%d\t%.6f\t%.3f\t%.3f\t%.3f\t%.3f\n", argv[i + 2],
                class_ids(i, 0), scores(i, 0), boxes(i, 0, 0), boxes(i, 0, 1),
                boxes(i, 0, 2), boxes(i, 0, 3));
  }
  return 0;
}
