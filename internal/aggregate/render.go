package aggregate

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// appendTo adds the points of the series at time t as one resource, if there are any.
func (r *resource) appendTo(md pmetric.Metrics, lists *[numMetrics][]*series, t int64) {
	metrics := pmetric.NewMetricSlice()
	for m := range lists {
		if len(lists[m]) == 0 {
			continue
		}
		if metrics.Len() == 0 {
			metrics = r.newMetrics(md)
		}
		r.appendMetric(metrics.AppendEmpty(), metric(m), lists[m], t)
	}
}

// newMetrics begins the resource's own metrics.
func (r *resource) newMetrics(md pmetric.Metrics) pmetric.MetricSlice {
	rm := md.ResourceMetrics().AppendEmpty()
	attributes := rm.Resource().Attributes()
	if r.observed != nil {
		r.observed.CopyTo(rm.Resource())
	} else {
		attributes.PutBool(overflowAttribute, true)
	}
	if r.agg.cfg.ReceiverID != "" {
		attributes.PutStr("wsstats.receiver.id", r.agg.cfg.ReceiverID)
	}
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName(r.agg.scopeName)
	sm.Scope().SetVersion(r.agg.scopeVersion)
	return sm.Metrics()
}

func (r *resource) appendMetric(dst pmetric.Metric, m metric, list []*series, t int64) {
	info := &metricInfos[m]
	dst.SetName(info.Name)
	dst.SetUnit(info.Unit)
	dst.SetDescription(info.Description)
	temporality := pmetric.AggregationTemporalityCumulative
	if r.agg.cfg.Delta && m != connectionsActive {
		temporality = pmetric.AggregationTemporalityDelta
	}
	switch {
	case info.bounds == nil:
		sum := dst.SetEmptySum()
		sum.SetAggregationTemporality(temporality)
		sum.SetIsMonotonic(m != connectionsActive)
		sum.DataPoints().EnsureCapacity(len(list))
		for _, s := range list {
			r.putSum(sum.DataPoints().AppendEmpty(), s, t)
		}
	case r.agg.cfg.Exponential:
		hist := dst.SetEmptyExponentialHistogram()
		hist.SetAggregationTemporality(temporality)
		hist.DataPoints().EnsureCapacity(len(list))
		for _, s := range list {
			r.putExponential(hist.DataPoints().AppendEmpty(), s, t)
		}
	default:
		hist := dst.SetEmptyHistogram()
		hist.SetAggregationTemporality(temporality)
		hist.DataPoints().EnsureCapacity(len(list))
		for _, s := range list {
			r.putExplicit(hist.DataPoints().AppendEmpty(), s, t)
		}
	}
}

// point is what all kinds of data points have.
type point interface {
	SetStartTimestamp(pcommon.Timestamp)
	SetTimestamp(pcommon.Timestamp)
	Attributes() pcommon.Map
}

func (r *resource) putPoint(dst point, s *series, t int64) {
	dst.SetStartTimestamp(pcommon.Timestamp(s.start))
	dst.SetTimestamp(pcommon.Timestamp(t))
	attributes := dst.Attributes()
	if s.key&overflowBit != 0 {
		attributes.PutBool(overflowAttribute, true)
		return
	}
	// A dimension that has the name of a metric's own attribute gives way to it.
	putText(attributes, r.agg.textNames(s.key.metric()), s.labels.text)
	s.key.putAttributes(attributes, r.agg.cfg.Conventions)
}

func (r *resource) putSum(dst pmetric.NumberDataPoint, s *series, t int64) {
	r.putPoint(dst, s, t)
	if s.gauge != nil {
		dst.SetIntValue(s.gauge.value.Load())
		return
	}
	dst.SetIntValue(int64(s.sum))
	r.agg.putExemplars(dst.Exemplars(), s.exemplars, func(e pmetric.Exemplar, v float64) { e.SetIntValue(int64(v)) })
}

func (r *resource) putExplicit(dst pmetric.HistogramDataPoint, s *series, t int64) {
	r.putPoint(dst, s, t)
	h := s.hist.(*explicit)
	dst.SetCount(h.count)
	dst.SetSum(h.sum)
	if !h.noMin {
		dst.SetMin(h.min)
	}
	if !h.noMax {
		dst.SetMax(h.max)
	}
	dst.ExplicitBounds().FromRaw(h.upper)
	dst.BucketCounts().FromRaw(h.counts[:len(h.upper)+1])
	r.agg.putExemplars(dst.Exemplars(), s.exemplars, pmetric.Exemplar.SetDoubleValue)
}

func (r *resource) putExponential(dst pmetric.ExponentialHistogramDataPoint, s *series, t int64) {
	r.putPoint(dst, s, t)
	h := s.hist.(*exponential)
	dst.SetCount(h.count)
	dst.SetSum(h.sum)
	if !h.noMin {
		dst.SetMin(h.min)
	}
	if !h.noMax {
		dst.SetMax(h.max)
	}
	dst.SetScale(h.scale)
	dst.SetZeroCount(h.zero)
	dst.Positive().SetOffset(int32(h.offset))
	dst.Positive().BucketCounts().FromRaw(h.counts)
	r.agg.putExemplars(dst.Exemplars(), s.exemplars, pmetric.Exemplar.SetDoubleValue)
}
