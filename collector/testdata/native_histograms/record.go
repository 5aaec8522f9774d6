// Records page.pb and page.txt beside it: one registry of Prometheus' own Go client, as its handler answers in protobuf and in
// text. Go 1.26.8, client_golang v1.23.2, client_model v0.6.2, 2026-11-27:
//
//	go mod init record && go get github.com/prometheus/client_golang@v1.23.2 && go mod tidy && go run record.go
package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// written is a histogram that the client can't count itself: of floats, or a gauge.
type written struct {
	desc *prometheus.Desc
	dto.Histogram
}

func (w *written) Desc() *prometheus.Desc { return w.desc }
func (w *written) Write(out *dto.Metric) error {
	out.Histogram = &w.Histogram
	return nil
}
func (w *written) Describe(ch chan<- *prometheus.Desc) { ch <- w.desc }
func (w *written) Collect(ch chan<- prometheus.Metric) { ch <- w }

func floats(name string) *written {
	count, zero, sum, threshold, schema := 10.75, 0.5, 31.25, 0.001, int32(1)
	first, second, length, one := int32(-2), int32(3), uint32(2), uint32(1)
	return &written{prometheus.NewDesc(name, "Of floats.", nil, nil), dto.Histogram{
		SampleCountFloat: &count, SampleSum: &sum, ZeroCountFloat: &zero, ZeroThreshold: &threshold, Schema: &schema,
		PositiveSpan:  []*dto.BucketSpan{{Offset: &first, Length: &length}, {Offset: &second, Length: &one}},
		PositiveCount: []float64{1.25, 0, 4},
		NegativeSpan:  []*dto.BucketSpan{{Offset: &second, Length: &length}},
		NegativeCount: []float64{2.5, 2.5},
	}}
}

func main() {
	registry := prometheus.NewRegistry()
	both := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "shop_request_seconds", Help: "Classic and native.", Buckets: []float64{0.01, 0.1, 1},
		NativeHistogramBucketFactor: 1.1,
	}, []string{"path"})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "shop_balance", Help: "Native alone, with negative and small observations.",
		NativeHistogramBucketFactor: 2, NativeHistogramZeroThreshold: 0.5,
	})
	unused := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "shop_unused_seconds", Help: "Native without any observation.", NativeHistogramBucketFactor: 1.1,
		NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero,
	})
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "shop_size_bytes", Help: "Classic alone.", Buckets: []float64{100, 1e6},
	})
	orders := prometheus.NewCounter(prometheus.CounterOpts{Name: "shop_orders_total", Help: "A counter."})
	registry.MustRegister(both, native, unused, classic, orders, floats("shop_weighted_seconds"))
	orders.Add(7)
	for i := 0; i < 500; i++ {
		v := 0.002 * float64(1+(i*i)%997)
		both.WithLabelValues("/").Observe(v)
		both.WithLabelValues("/cart").Observe(v * v)
		native.Observe(float64(i%41) - 13.25)
		classic.Observe(float64(i * i))
	}
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	for file, accept := range map[string]string{
		"page.pb":  "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
		"page.txt": "text/plain;version=0.0.4",
	} {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", accept)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		body, err := io.ReadAll(answer.Body)
		if err == nil {
			err = os.WriteFile(file, body, 0o644)
		}
		if err != nil {
			panic(err)
		}
		println(file, answer.Header().Get("Content-Type"), len(body))
	}
}
