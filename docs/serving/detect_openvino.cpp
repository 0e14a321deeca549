// Detect objects with OpenVINO in C++, without Python: detect_openvino best_openvino_model/model.xml image.ppm
//
// The model comes from `yolo export model=best.pt format=openvino nms=True`; an .onnx file works as well. Images are
// binary PPM (P6), so that nothing but OpenVINO is needed; a program with OpenCV takes cv::imread instead.
// Build (docs/export.md says where the pip package keeps headers and libraries):
//   g++ -O2 -std=c++17 detect_openvino.cpp -I"$OV/include" -L"$OV/libs" -l:libopenvino.so.NNNN -Wl,-rpath,"$OV/libs"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

struct Image {
    int width = 0, height = 0;
    std::vector<uint8_t> rgb;
};

Image read_ppm(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    std::string kind;
    Image p;
    int greatest = 0;
    in >> kind >> p.width >> p.height >> greatest;
    in.get();
    if (kind != "P6" || greatest != 255 || p.width < 1 || p.height < 1 || p.width > 32768 || p.height > 32768)
        throw std::runtime_error("'" + file + "' is no binary PPM image of 8 bits.");
    p.rgb.resize(size_t(p.width) * p.height * 3);
    in.read(reinterpret_cast<char*>(p.rgb.data()), std::streamsize(p.rgb.size()));
    if (!in) throw std::runtime_error("'" + file + "' ends too early.");
    return p;
}

// One channel of a pixel between pixels, by the four around it.
float between(const Image& p, float x, float y, int channel) {
    x = std::clamp(x, 0.f, float(p.width - 1));
    y = std::clamp(y, 0.f, float(p.height - 1));
    const int x0 = int(x), y0 = int(y), x1 = std::min(x0 + 1, p.width - 1), y1 = std::min(y0 + 1, p.height - 1);
    const auto at = [&](int a, int b) { return float(p.rgb[(size_t(b) * p.width + a) * 3 + channel]); };
    const float dx = x - x0, dy = y - y0;
    return (at(x0, y0) * (1 - dx) + at(x1, y0) * dx) * (1 - dy) + (at(x0, y1) * (1 - dx) + at(x1, y1) * dx) * dy;
}

int main(int argc, char** argv) try {
    if (argc < 3) throw std::runtime_error("usage: detect_openvino MODEL.xml IMAGE.ppm ...");
    ov::Core core;
    auto model = core.compile_model(argv[1], "CPU", ov::hint::inference_precision(ov::element::f32));
    auto request = model.create_infer_request();
    const auto shape = model.input().get_shape();  // 1, 3, height, width
    const int height = int(shape[2]), width = int(shape[3]);
    for (int i = 2; i < argc; ++i) {
        const Image p = read_ppm(argv[i]);
        const float scale = std::min(float(height) / p.height, float(width) / p.width);
        const int w = int(std::lround(p.width * scale)), h = int(std::lround(p.height * scale));
        const int left = int(std::lround((width - w) / 2.0 - 0.1)), top = int(std::lround((height - h) / 2.0 - 0.1));
        auto input = request.get_input_tensor();
        float* x = input.data<float>();
        std::fill(x, x + input.get_size(), 114.f / 255.f);
        for (int c = 0; c < 3; ++c)
            for (int row = 0; row < h; ++row)
                for (int column = 0; column < w; ++column) {
                    const float u = (column + 0.5f) * p.width / w - 0.5f, v = (row + 0.5f) * p.height / h - 0.5f;
                    x[(size_t(c) * height + row + top) * width + column + left] =
                        std::round(between(p, u, v, c)) / 255.f;
                }
        request.infer();
        const auto output = request.get_output_tensor(0);  // 1, objects, 6 or more
        const size_t rows = output.get_shape()[1], columns = output.get_shape()[2];
        const float* y = output.data<const float>();
        for (size_t k = 0; k < rows && y[k * columns + 4] > 0; ++k) {
            const float* box = y + k * columns;
            std::printf("%s %d %.3f %.1f %.1f %.1f %.1f\n", argv[i], int(box[5]), box[4], (box[0] - left) / scale,
                        (box[1] - top) / scale, (box[2] - left) / scale, (box[3] - top) / scale);
        }
    }
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
}
