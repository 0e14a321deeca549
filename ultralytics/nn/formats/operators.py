"""The operators that an untrusted TorchScript file may use: what computes with tensors and does nothing else.

They are those that exported models of this package and of ultralytics 8.x use, and related ones that users' own modules
are made of. None reads or writes a file, loads a library, connects, prints, or gives memory that was not computed.
"""

from __future__ import annotations

_TORCH = """
abs abs_ acos acosh add add_ addcdiv addcmul addmm all alpha_dropout amax amin any arange argmax argmin argsort asin
asinh atan atan2 atanh avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d append
baddbmm batch_norm bilinear bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors broadcast_to
cat cdist ceil ceil_ celu channel_shuffle chunk clamp clamp_ clamp_max clamp_max_ clamp_min clamp_min_ clip clip_ clone
col2im concat constant_pad_nd contiguous conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
copy_ cos cosh count_nonzero cross cummax cummin cumprod cumsum _convolution
deg2rad detach detach_ device diag diag_embed diagonal dim div div_ dot dropout dropout_
einsum elu elu_ embedding eq erf erfc exp exp_ expand expand_as expm1 eye
feature_dropout fill_ flatten flip floor floor_ floor_divide floordiv fmod frac frobenius_norm full full_like
gather ge gelu gelu_ glu grid_sampler grid_sampler_2d group_norm gt
hardshrink hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_ hstack hypot
im2col index index_add index_fill index_put index_put_ index_select instance_norm isfinite isinf isnan item
kthvalue layer_norm le leaky_relu leaky_relu_ len lerp lift_fresh linalg_norm linalg_vector_norm linear linspace log
log10 log1p log2 log_sigmoid log_softmax logical_and logical_not logical_or logical_xor logsumexp lt
masked_fill masked_fill_ masked_select matmul max max_pool1d max_pool2d max_pool2d_with_indices max_pool3d maximum mean
median meshgrid min minimum mish mish_ mm mode moveaxis movedim mul mul_ multiply mv
nan_to_num narrow ne neg neg_ new_full new_ones new_zeros nonzero nonzero_numpy norm numel numpy_T
one_hot ones ones_like outer
pad permute pixel_shuffle pixel_unshuffle pow pow_ prelu prod
rad2deg reciprocal reflection_pad1d reflection_pad2d relu relu6 relu6_ relu_ remainder repeat repeat_interleave
replication_pad1d replication_pad2d reshape reshape_as roll rot90 round round_ rsqrt rsub
scalar_tensor scaled_dot_product_attention scatter scatter_ scatter_add scatter_add_ scatter_reduce select selu selu_
sigmoid sigmoid_ sign silu silu_ sin sinh size slice softmax softplus softshrink sort split split_with_sizes sqrt sqrt_
square squeeze squeeze_ stack std std_mean sub sub_ sum swapaxes
t take take_along_dim tan tanh tanh_ tensor tensordot tensor_split threshold threshold_ tile to topk transpose
transpose_ tril triu true_divide trunc type_as
unbind unflatten unfold unsqueeze unsqueeze_ upsample_bicubic2d upsample_bilinear2d upsample_linear1d
upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
var var_mean view view_as vstack where zero_ zeros zeros_like
__and__ __contains__ __getitem__ __is__ __isnot__ __not__ __or__ __range_length __derive_index
"""
_OPS = """
ops.prim.NumToTensor ops.prim.abs ops.prim.data ops.prim.device ops.prim.dtype ops.prim.max ops.prim.min ops.prim.shape
ops.prim.is_cuda ops.prim.layout ops.torchvision.nms ops.torchvision.deform_conv2d ops.torchvision.roi_align
"""
OPERATORS = frozenset({*(f"torch.{name}" for name in _TORCH.split()), *_OPS.split()})
