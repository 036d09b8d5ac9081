// Boxes an object in each image file by TensorFlow's C API, with an exported SavedModel.
//
//   boxes SAVED_MODEL INPUT OUTPUT IMAGE...
//
// prints one line a file: path and the best class's x0, y0, x1, y1 in pixels, separated by
// tabs. INPUT and OUTPUT are operations, as NAME:INDEX, that the signature `serve_bytes`
// reads `image_bytes` from and writes `boxes` to; this tells them:
//
//   saved_model_cli show --dir SAVED_MODEL --tag_set serve --signature_def serve_bytes
//
// It links against the libraries of TensorFlow's pip wheel, as localize.cc does.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void Check(int fine, const char* what, const char* why) {
  if (fine) return;
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

// From "serve_bytes_image_bytes:0" to an output of the graph.
static TF_Output Find(TF_Graph* graph, char* name) {
  char* colon = strrchr(name, ':');
  Check(colon != NULL, name, "must be NAME:INDEX");
  *colon = '\0';
  TF_Output output = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  Check(output.oper != NULL, name, "is no operation of this model");
  return output;
}

static void Read(const char* path, TF_TString* contents) {
  FILE* file = fopen(path, "rb");
  Check(file != NULL, path, "cannot be opened");
  fseek(file, 0, SEEK_END);
  const long size = ftell(file);
  rewind(file);
  char* bytes = malloc(size + 1);
  Check(fread(bytes, 1, size, file) == (size_t)size, path, "cannot be read");
  TF_StringInit(contents);
  TF_StringCopy(contents, bytes, size);
  free(bytes);
  fclose(file);
}

int main(int argc, char** argv) {
  Check(argc > 4, "usage", "boxes SAVED_MODEL INPUT OUTPUT IMAGE...");
  TF_Status* status = TF_NewStatus();
  TF_SessionOptions* options = TF_NewSessionOptions();
  TF_Graph* graph = TF_NewGraph();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  Check(TF_GetCode(status) == TF_OK, argv[1], TF_Message(status));
  const TF_Output input = Find(graph, argv[2]), output = Find(graph, argv[3]);

  const int64_t count = argc - 4;
  TF_Tensor* images =
      TF_AllocateTensor(TF_STRING, &count, 1, count * sizeof(TF_TString));
  TF_TString* contents = TF_TensorData(images);
  for (int i = 0; i < count; ++i) Read(argv[i + 4], &contents[i]);
  TF_Tensor* found = NULL;
  TF_SessionRun(session, NULL, &input, &images, 1, &output, &found, 1, NULL, 0, NULL,
                status);
  Check(TF_GetCode(status) == TF_OK, argv[1], TF_Message(status));
  Check(TF_NumDims(found) == 3, argv[3], "must be the boxes, (B, K, 4)");

  const float* boxes = TF_TensorData(found);
  const int64_t classes = TF_Dim(found, 1);
  for (int i = 0; i < count; ++i) {
    const float* box = boxes + i * classes * 4;
    printf("%s\t%.3f\t%.3f\t%.3f\t%.3f\n", argv[i + 4], box[0], box[1], box[2], box[3]);
  }
  TF_DeleteTensor(found);
  TF_DeleteTensor(images);
  TF_DeleteSession(session, status);
  TF_DeleteGraph(graph);
  TF_DeleteSessionOptions(options);
  TF_DeleteStatus(status);
  return 0;
}
