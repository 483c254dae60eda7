//! Slices out of tensors of the CPU backend (flex) and back.

use burn::tensor::{Device, TensorData};
use burn_flex::FlexTensor;

/// Whether a device is the CPU backend, with or without gradients.
pub(crate) fn is_flex(device: &Device) -> bool {
    *device == Device::flex()
}

/// How the numbers of images lie in memory; the axes of their tensor are `n × c × h × w` either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Channel by channel: in the order of the axes.
    Planar,
    /// Pixel by pixel: all channels of one beside each other.
    PixelsFirst,
}

/// A tensor's values one behind the other, copied only where the tensor is a view in another order.
pub(crate) struct Values(FlexTensor);

impl Values {
    /// In row-major order.
    pub(crate) fn of(tensor: &FlexTensor) -> Self {
        // A view into a longer vector is in order too; the framework's own conversion would copy it.
        Self(if tensor.is_contiguous() { tensor.clone() } else { tensor.to_contiguous() })
    }

    /// Of images, in the order in which they lie, if they may lie pixel by pixel, else channel by channel.
    pub(crate) fn of_images(tensor: &FlexTensor, pixels_first: bool) -> (Self, Order) {
        if pixels_first
            && let [_, c, h, w] = **tensor.layout().shape()
            && !tensor.is_contiguous()
            && tensor.layout().strides() == [h * w * c, 1, w * c, c].map(|stride| stride as isize)
        {
            return (Self(tensor.clone()), Order::PixelsFirst);
        }
        (Self::of(tensor), Order::Planar)
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        let layout = self.0.layout();
        let start = layout.start_offset();
        &self.0.storage::<f32>()[start..start + layout.shape().num_elements()]
    }
}

/// A tensor whose values `change` has changed, in the same memory if nobody else holds it.
pub(crate) fn changed(tensor: FlexTensor, change: impl FnOnce(&mut [f32])) -> FlexTensor {
    let n = tensor.layout().shape().num_elements();
    let whole = tensor.is_contiguous() && tensor.layout().start_offset() == 0 && tensor.storage::<f32>().len() == n;
    let mut own = if whole {
        tensor
    } else {
        FlexTensor::from_data(TensorData::new(Values::of(&tensor).as_slice().to_vec(), tensor.layout().shape().clone()))
    };
    change(own.storage_mut());
    own
}

/// A tensor with these values.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Images of `n × c × h × w` with these values, which lie in this order.
pub(crate) fn images(values: Vec<f32>, [n, c, h, w]: [usize; 4], order: Order) -> FlexTensor {
    match order {
        Order::Planar => tensor(values, [n, c, h, w]),
        Order::PixelsFirst => tensor(values, [n, h, w, c]).permute(&[0, 3, 1, 2]),
    }
}
